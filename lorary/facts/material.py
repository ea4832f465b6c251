"""What the routers of one model are built from: read from its layers, computed, or given.

E experts that a router may choose, N experts in question (or examples of one), I layer input, D width of an
embedding.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lorary.experts import Expert
from lorary.facts.calibrations import Calibrations
from lorary.facts.encoder import Encoder
from lorary.facts.prototype_rows import PrototypeRows
from lorary.facts.prototypes import find_prototypes
from lorary.files import quote
from lorary.library import Library
from lorary.models import BaseModel, ExpertStack
from lorary.routing import CalibratedConfig, LayerMaterial, RequestMaterial, RouterConfig
from lorary.routing.material import FROM_DATA
from lorary.routing.request import OUTPUT


class Materials:
    """What is known about the experts on one model; what is not known yet is computed when first asked for.

    Whoever asks or gives holds ``lock``, and uses the model already (see ``ExpertStack.in_use``) if it asks.

    Args:
        base: the base model.
        stack: the experts on it.
        experts: those that a router may choose, first in the stack. The artifacts of a ``Library`` are used.
    """

    def __init__(self, base: BaseModel, stack: ExpertStack, experts: Mapping[str, Expert]):
        self.lock = threading.RLock()
        self.encoder: Encoder | None = None
        """What made the embeddings that were given; None for the base model."""
        self.prototypes = PrototypeRows(stack, experts)
        self._calibrations = Calibrations(base, experts)
        self._given: dict[str, dict[str, dict[str, Tensor]]] = {field: {} for field in FROM_DATA}

    @property
    def names(self) -> tuple[str, ...]:
        """The experts that a router may choose."""
        return self.prototypes.names

    @property
    def stack(self) -> ExpertStack:
        """The experts on the model."""
        return self.prototypes.stack

    def gather(self, config: RouterConfig) -> dict[str, LayerMaterial]:
        """Put together what a router needs, for every layer with experts and on that layer's device.

        Args:
            config: the router's; it needs fields of ``LayerMaterial``.

        Raises:
            ValueError: if something had to be given and was not; the message says how.
        """
        found: dict[str, Mapping[str, Tensor]] = {}
        if isinstance(config, CalibratedConfig):
            found.update(self._calibrations.find(config, self.stack, self.names))
        for field in sorted(config.needs - found.keys() - {"names"}):
            found[field] = self._find(field)
        return {
            path: LayerMaterial(
                num_experts=len(self.names),
                names=self.names,
                **{field: rows[path].to(layer.a.device) for field, rows in found.items()},
            )
            for path, layer in self.stack.layers.items()
        }

    def gather_request(self, config: RouterConfig) -> RequestMaterial:
        """Put together what a router needs that decides per request.

        Raises:
            ValueError: if something had to be given and was not; the message says how.
        """
        if "embeddings" not in config.needs:
            return RequestMaterial(num_experts=len(self.names), layers=self.gather(config))
        self.check(["embeddings"], self.names)
        embeddings = tuple(self._given["embeddings"][name][OUTPUT] for name in self.names)
        return RequestMaterial(num_experts=len(self.names), embeddings=embeddings)

    def give(self, field: str, rows: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Keep what cannot be computed from experts alone.

        Args:
            field: ``"means"`` or ``"gates"``.
            rows: module path -> ``[N, I]``; a layer without any gets zeros.
            names: the experts that the rows belong to.

        Raises:
            ValueError: if a path is no layer with experts, or a shape is not that layer's.
        """
        for path, tensor in rows.items():
            if path not in self.stack.layers:
                raise ValueError(f"{field} must be of layers with experts, {quote(path)} is none of them")
            expected = (len(names), self.stack.layers[path].a.shape[2])
            if tensor.shape != expected:
                raise ValueError(
                    f"{field} of {quote(path)} must be {list(expected)}, one row for each of "
                    f"{len(names)} experts, found {list(tensor.shape)}"
                )
            _require_finite(tensor, f"{field} of {quote(path)}")
        for index, name in enumerate(names):
            self._given[field][name] = {path: tensor[index].cpu() for path, tensor in rows.items()}

    def give_embeddings(self, embeddings: Mapping[str, Tensor], encoder: Encoder | None = None) -> None:
        """Keep embeddings of experts' example prompts.

        Args:
            embeddings: expert -> ``[N, D]``, with at least one row; D is that of all others.
            encoder: what made them; None for the base model.

        Raises:
            ValueError: if a shape is not so.
        """
        known = {name: places[OUTPUT] for name, places in self._given["embeddings"].items()}
        known.update(embeddings)
        for name, rows in embeddings.items():
            if rows.dim() != 2 or not len(rows):
                raise ValueError(
                    f"embeddings of expert {name!r} must be [N, D], one row per example and at least one, "
                    f"found {list(rows.shape)}"
                )
            _require_finite(rows, f"embeddings of expert {name!r}")
        widths = {name: rows.shape[1] for name, rows in known.items()}
        for name, width in widths.items():
            first, expected = next(iter(widths.items()))
            if width != expected:
                raise ValueError(
                    f"embeddings must all come from one encoder, but those of {first!r} are {expected} wide "
                    f"and those of {name!r} {width}: find them all again, and hand them over together"
                )
        for name, rows in embeddings.items():
            self._given["embeddings"][name] = {OUTPUT: rows.detach().float().cpu()}
        self.encoder = encoder

    def given(self, names: Sequence[str]) -> dict[str, Tensor]:
        """List what was given for every expert that a router may choose.

        Args:
            names: these experts, in the order of the answer's rows.

        Returns:
            ``means/PATH`` and ``gates/PATH`` -> ``[E, I]``, ``embeddings/NAME`` -> ``[N, D]``.
        """
        found: dict[str, Tensor] = {}
        for field, experts in self._given.items():
            if not all(name in experts for name in names):
                continue
            if field == "embeddings":
                found |= {f"{field}/{name}": experts[name][OUTPUT] for name in names}
            else:
                found |= {f"{field}/{path}": rows for path, rows in self._stack_given(field, names).items()}
        return found

    def store(self, library: Library, needs: Collection[str]) -> None:
        """Put what was computed from the experts into a library of the same experts.

        Args:
            library: holds every expert that a router may choose.
            needs: fields of ``LayerMaterial`` that are to be there; calibrations are if they are known.

        Raises:
            LibraryError: if it cannot be written.
        """
        if {"prototypes", "gains"} & set(needs):
            find_prototypes(library, self.names)
        self._calibrations.store(library, self.names)

    def check(self, needs: Iterable[str], names: Sequence[str]) -> None:
        """Refuse if something that has to be given was not, for one of these experts.

        Raises:
            ValueError: naming it, and how to get it.
        """
        for field in sorted(FROM_DATA.keys() & set(needs)):
            missing = [name for name in names if name not in self._given[field]]
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise ValueError(
                    f"this router needs the {field} of every expert, but has none of {missing[0]!r}{more}: "
                    f"{FROM_DATA[field]}, hand them over with provide({field}=...), then set the router"
                )

    def add(self, stack: ExpertStack, expert: Expert) -> None:
        """Take note of one more expert, after the others that a router may choose."""
        self.prototypes.add(stack, expert)
        self._calibrations.add(expert)

    def remove(self, stack: ExpertStack, name: str) -> None:
        """Forget all about an expert."""
        self.prototypes.remove(stack, name)
        self._calibrations.remove(name)
        for given in self._given.values():
            given.pop(name, None)

    def _find(self, field: str) -> Mapping[str, Tensor]:
        """Find one field for all layers."""
        if field in FROM_DATA:
            return self._stack_given(field, self.names)
        if field in ("a", "b"):
            # Views: nothing is copied.
            return {
                path: getattr(layer, field)[: len(self.names)] for path, layer in self.stack.layers.items()
            }
        found = self.prototypes.tied() if field.startswith("tied_") else self.prototypes.plain()
        place = ("prototypes", "gains").index(field.removeprefix("tied_"))
        return {path: pair[place] for path, pair in found.items()}

    def _stack_given(self, field: str, names: Sequence[str]) -> dict[str, Tensor]:
        self.check([field], names)
        given = [self._given[field][name] for name in names]
        return {
            path: torch.stack([rows.get(path, torch.zeros(layer.a.shape[2])) for rows in given])
            for path, layer in self.stack.layers.items()
        }


def _require_finite(tensor: Tensor, what: str) -> None:
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise ValueError(f"{what} must be finite floating numbers: find them again")
