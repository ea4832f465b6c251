"""Open the folder of a saved model, with a user's changes, as arguments for ``load_model``."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorary.assembly.folder_files import AGAIN, BASE
from lorary.assembly.routed_model import RoutedModel
from lorary.assembly.saved_model import (
    DTYPES,
    MATERIAL_FILE,
    SavedModel,
    is_saved_model,
    open_saved_experts,
    read_material,
    read_saved_model,
)
from lorary.errors import BaseModelError, FormatError, UnknownExpert
from lorary.experts.base_fingerprint import Fingerprint
from lorary.experts.roles import GENERAL, SKILL
from lorary.facts import FACTS
from lorary.facts.encoder import Encoder
from lorary.files import escape, quote
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.models import BaseModel, load_base
from lorary.routing import configure_router


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """The parts of a saved model, before its base model is loaded."""

    folder: Path
    """The model's folder."""
    saved: SavedModel
    """The content of its ``lorary_model.json``."""
    library: LibraryView
    """Its experts of all roles, except skills that only its tasks use."""
    material: Mapping[str, Mapping[str, Tensor]]
    """The facts that were given to it, from examples of tasks."""
    router: str | None
    """The router to set; None for the base model alone."""
    options: Mapping[str, Any]
    """Options of the router."""
    combine: str
    """``"outputs"`` or ``"factors"``, see ``mix``."""

    def choose_material(
        self, given: Collection[str], encoder: Encoder | None
    ) -> dict[str, Mapping[str, Tensor]]:
        """Return the saved facts to use: all except those that the user gave.

        Args:
            given: names of the facts that the user gave.
            encoder: the encoder of the facts of the output layer; None means the base model.

        Raises:
            ValueError: if the router needs a fact of an encoder that is not given, or an encoder is given for
                facts of the base model.
        """
        found = {}
        for name, rows in self.material.items():
            if name in given:
                continue
            if FACTS[name].place == "layers" or self.saved.has_encoder == (encoder is not None):
                found[name] = rows
            elif not self.saved.has_encoder:
                raise ValueError(
                    f"the {name} in {quote(str(self.folder))} were made by the base "
                    f"model: leave out encoder=..., or give {name} that it made"
                )
            elif self.router is not None and name in configure_router(self.router, self.options).needs:
                raise ValueError(
                    f"the {name} in {quote(str(self.folder))} were made by an encoder of texts, which cannot "
                    "be saved: give the same one with encoder=..."
                )
        return found

    def hand_over(
        self, model: RoutedModel, material: Mapping[str, Mapping[str, Tensor]], encoder: Encoder | None
    ) -> None:
        """Give saved facts to a model.

        Args:
            model: the model.
            material: the result of ``choose_material``.
            encoder: the encoder of the facts of the output layer; None means the base model.

        Raises:
            FormatError: if a fact does not fit the model's layers or experts.
        """
        has_output = any(FACTS[name].place == "output" for name in material)
        try:
            model.provide(material, encoder=encoder if has_output else None)
        except (ValueError, UnknownExpert) as error:
            place = quote(str(self.folder / MATERIAL_FILE))
            raise FormatError(
                f"{place} does not fit the model, {escape(str(error), longest=500)}: {AGAIN}"
            ) from error

    def load_base(self, dtype: torch.dtype | None, device: str | torch.device | None) -> BaseModel:
        """Load the base model in the saved dtype, from the folder or else by its name.

        Raises:
            BaseModelError: if it cannot be loaded, or has other weights or settings.
        """
        saved = self.saved
        dtype = DTYPES[saved.dtype] if dtype is None else dtype
        if saved.has_base:
            base = load_base(str(self.folder / BASE), dtype=dtype, device=device)
            base = replace(base, name=saved.base_model, revision=saved.base_revision)
        else:
            base = load_base(
                saved.base_model,
                revision=saved.base_revision,
                dtype=dtype,
                device=device,
                quantization=saved.quantization,
            )
        if not self._is_base(base):
            raise BaseModelError(
                f"the model in {quote(str(self.folder))} was built on {quote(saved.base_model)} with "
                f"fingerprint {saved.base_fingerprint}, the base model found by that name has "
                f"{base.fingerprint}: load "
                "it where its base model is, or build it with its base (`lorary build --with-base`)"
            )
        # Facts that were computed with the saved model are used, so the model has its fingerprint.
        return replace(base, fingerprint=saved.base_fingerprint)

    def _is_base(self, base: BaseModel) -> bool:
        """Return whether a base model is the saved one, whose quantised values may depend on the device."""
        found, wanted = (Fingerprint.parse(text) for text in (base.fingerprint, self.saved.base_fingerprint))
        is_copy = found.is_quantised and wanted.is_quantised and wanted.full is not None
        return found.own == wanted.own or (is_copy and found.full == wanted.full)


def open_saved(
    place: str | Path | PreTrainedModel | BaseModel,
    router: str | EllipsisType | None,
    combine: str | None,
    options: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase | None,
    revision: str | None,
) -> OpenedModel:
    """Open the folder of a saved model.

    Args:
        place: the folder; other kinds of base models are refused.
        router: the router to set; ``...`` means the saved one.
        combine: ``"outputs"`` or ``"factors"``; None means the saved value.
        options: of the router; for the saved router they override the saved options.
        tokenizer: must be None; the saved base model has one.
        revision: must be None; the folder names one.

    Raises:
        ValueError: if ``place`` is not a saved model, or ``tokenizer`` or ``revision`` is given.
        FormatError: if the folder is damaged.
    """
    if not isinstance(place, str | Path) or not is_saved_model(place):
        raise ValueError(
            f"without experts, load_model takes the folder of a saved model, found {_describe(place)}: give "
            "a library or a mapping of experts too"
        )
    if tokenizer is not None or revision is not None:
        raise ValueError(
            f"the saved model {quote(str(place))} has its own tokenizer and revision: leave them out"
        )
    saved = read_saved_model(place)
    own = router is ... or router == saved.router
    return OpenedModel(
        folder=Path(place),
        saved=saved,
        library=_view(open_saved_experts(place, saved), saved.skills or [], saved.general),
        material=read_material(place, saved),
        router=saved.router if router is ... else router,
        options={**saved.options, **options} if own else options,
        combine=saved.combine if combine is None else combine,
    )


def _view(library: Library, skills: Sequence[str], general: str | None) -> LibraryView:
    apart = {*skills, general}
    left_out = {SKILL: skills, GENERAL: [] if general is None else [general]}
    return LibraryView(library, [name for name in library if name not in apart], left_out)


def _describe(place: str | Path | PreTrainedModel | BaseModel) -> str:
    return quote(str(place)) if isinstance(place, str | Path) else type(place).__name__
