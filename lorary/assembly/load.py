"""From names to a ready model."""

from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorary.assembly.open_saved import open_saved
from lorary.assembly.routed_model import RoutedModel
from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.experts.base_names import agree_on_revision
from lorary.experts.expert import identify_base
from lorary.facts import FACTS
from lorary.facts.encoder import Encoder
from lorary.files import quote
from lorary.library import Library
from lorary.models import COMBINES, BaseModel, attach_experts, load_base, wrap_base
from lorary.models.base import check_base
from lorary.models.fit_paths import fit_paths
from lorary.routing import DEFAULT_ROUTER, RouterConfig, configure_router


def load_model(
    base: str | Path | PreTrainedModel | BaseModel,
    experts: str | Mapping[str, Expert] | None = None,
    *,
    router: str | EllipsisType | None = ...,
    combine: str | None = None,
    controls: Mapping[str, Expert] | None = None,
    facts: Mapping[str, Mapping[str, Tensor]] | None = None,
    encoder: Encoder | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> RoutedModel:
    """Put a library's experts on their base model and a router in charge; or load what ``save_model`` wrote.

    Args:
        base: hub id, folder, ``"smollm2-135m"`` (embedded), or a model that is loaded already. Without
            ``experts``, the folder of a saved model, which brings all of what follows.
        experts: a library, any other mapping name -> expert, or a library's URL.
        router: a key of ``ROUTERS``; None lets the base answer alone until ``assign`` or ``set_router``. If
            not given, ``"calibrated"``, or the saved model's own.
        combine: ``"outputs"`` or ``"factors"``, see ``mix``. If not given, outputs, or as in the saved model.
        controls: further experts that no router chooses, but that ``assign`` knows by these names.
        facts: what some routers need and only data can tell, by its name in ``FACTS``: of layers, such as
            ``"means"`` and ``"gates"``, module path -> ``[E, I]``; of the output, such as ``"embeddings"``,
            expert -> ``[N, D]``.
        encoder: what made the embeddings, texts -> ``[N, D]``; None for the base model.
        tokenizer: only for a ``transformers`` model that is loaded already. Without it, logits and token ids
            work, and text looks for the tokenizer by the model's ``name_or_path``, on this machine alone.
        revision: of a hub model; None takes the one that the experts' cards name.
        dtype: of the base model's weights; None chooses what the hardware multiplies fast.
        device: None means a GPU if there is one.
        options: of the router, such as ``top_k`` and ``temperature``: the fields of its configuration,
            ``CalibratedConfig`` for ``"calibrated"``. Facts may stand among them, such as ``means=…``.

    Returns:
        The model; it owns the base model until ``detach``.

    Raises:
        ValueError: for an unknown router, options that it does not have or that are out of range, or if it
            needs
            facts that were not given.
        LibraryError: if there is no expert.
        IncompatibleExpert: if an expert was trained on another base model.
        BaseModelError: if the base model cannot be loaded, or is not the saved model's.
        FormatError: if the folder of a saved model is damaged.
    """
    given = {**(facts or {}), **{name: options.pop(name) for name in list(options) if name in FACTS}}
    given = {name: rows for name, rows in given.items() if rows is not None}
    saved, kept = None, {}
    if experts is None:
        saved = open_saved(base, router, combine, options, tokenizer, revision)
        base = saved.load_base(dtype, device)
        experts, router, combine, options = saved.library, saved.router, saved.combine, dict(saved.options)
        kept = saved.choose_material(given, encoder)
    elif isinstance(base, Path):
        base = str(base)
    router = DEFAULT_ROUTER if router is ... else router
    combine = "outputs" if combine is None else combine
    if combine not in COMBINES:
        raise ValueError(f"combine must be one of {COMBINES}, not {quote(combine)}")
    config = _configure(router, options)
    library = Library.open(experts) if isinstance(experts, str) else experts
    own = _read_experts(library)
    everyone = own | _check_controls(controls or {}, own)
    if config is not None:
        config.check(list(own))
    if isinstance(base, str) and saved is None and revision is None and not Path(base).exists():
        revision = agree_on_revision({name: identify_base(expert) for name, expert in own.items()})
    loaded = _load_any_base(base, tokenizer, revision, dtype, device)
    for expert in everyone.values():
        check_base(loaded, expert)
    everyone = fit_paths(loaded.model, everyone)
    # What a library keeps of an expert goes by the paths in its file: renamed ones are not the library's.
    fitted = {name: everyone[name] for name in own}
    is_library = all(fitted[name] is own[name] for name in own)
    model = RoutedModel(loaded, attach_experts(loaded.model, everyone), library if is_library else fitted)
    try:
        if saved is not None:
            saved.hand_over(model, kept, encoder)
        has_maker = any(FACTS[name].place == "output" for name in kept)
        model.provide(given, encoder=None if has_maker else encoder)
        model.set_router(router, config, combine)
    except BaseException:
        model.detach()
        raise
    return model


def _configure(router: str | None, options: Mapping[str, Any]) -> RouterConfig | None:
    if router is not None:
        return configure_router(router, options)
    if options:
        raise ValueError(
            f"without a router there is nothing to configure, found {', '.join(sorted(options))}"
        )
    return None


def _read_experts(library: Mapping[str, Expert]) -> dict[str, Expert]:
    experts = dict(library.items())
    if not experts:
        where = f"library {quote(library.url)}" if isinstance(library, Library) else "the given mapping"
        raise LibraryError(f"{where} holds no experts: train some, or add one with `lorary library add`")
    return experts


def _check_controls(controls: Mapping[str, Expert], experts: Mapping[str, Expert]) -> dict[str, Expert]:
    taken = sorted(controls.keys() & experts.keys())
    if taken:
        raise ValueError(
            f"a control must have a name of its own, but {taken[0]!r} is an expert too: name it otherwise"
        )
    return dict(controls)


def _load_any_base(
    base: str | PreTrainedModel | BaseModel,
    tokenizer: PreTrainedTokenizerBase | None,
    revision: str | None,
    dtype: torch.dtype | None,
    device: str | torch.device | None,
) -> BaseModel:
    if isinstance(base, BaseModel):
        return base
    if isinstance(base, str):
        return load_base(base, revision=revision, dtype=dtype, device=device)
    return wrap_base(base, tokenizer)
