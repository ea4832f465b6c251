"""A trained router as a few named tensors, as it is stored in a library or with a model.

E routed experts, S shared ones, I layer input.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorary.files import parse_json_object, quote, say_count
from lorary.routing.configs.moe_form import MoeForm, read_form
from lorary.routing.moe.scores import split_parameters

FORM, LAYOUT, PARAMETERS = "form", "layout", "parameters"


@dataclass(frozen=True, eq=False)
class TrainedRouter:
    """A trained mixture-of-experts router of a whole model."""

    form: MoeForm
    """Its experts and its computation."""
    layers: Mapping[str, Tensor]
    """Module path -> the layer's parameters, joined, float32; see ``split_parameters``."""

    def pack(self) -> dict[str, Tensor]:
        """Return it as tensors: the form and the layout as the bytes of JSON objects, and all parameters.

        A file with one tensor per layer takes far longer to read.
        """
        layout = {path: own.numel() for path, own in self.layers.items()}
        return {
            FORM: _encode(self.form.dump()),
            LAYOUT: _encode(json.dumps(layout).encode()),
            PARAMETERS: torch.cat([own.detach().float().cpu() for own in self.layers.values()]),
        }

    def rename(self, old: Sequence[str], new: Sequence[str]) -> "TrainedRouter":
        """Return the router with other names of its experts.

        Args:
            old: all of its experts.
            new: their new names, in the same order.
        """
        name_of = dict(zip(old, new, strict=True))
        form = replace(
            self.form,
            experts=tuple(name_of[name] for name in self.form.experts),
            shared=tuple(name_of[name] for name in self.form.shared),
        )
        return TrainedRouter(form, self.layers)

    def leave_out(self, names: Collection[str]) -> "TrainedRouter":
        """Return the router without some experts, all other parameters unchanged.

        Raises:
            ValueError: if too few experts are left for it.
        """
        form = self.form
        if not set(names) & {*form.experts, *form.shared}:
            return self
        kept = [place for place, name in enumerate(form.experts) if name not in names]
        shared = [place for place, name in enumerate(form.shared) if name not in names]
        groups = None if form.groups is None else [form.groups[place] for place in kept]
        # Groups without experts are left out too, and the others are renumbered.
        used = sorted(set(groups or []))
        new = replace(
            form,
            experts=tuple(form.experts[place] for place in kept),
            shared=tuple(form.shared[place] for place in shared),
            shared_gate=form.shared_gate and bool(shared),
            groups=None if groups is None else tuple(used.index(group) for group in groups),
            cells=tuple(form.cells[place] for place in kept) if form.cells else (),
        )
        rows = {"rows": kept, "groups": used, "shared": shared}
        layers = {}
        for path, joined in self.layers.items():
            parts = split_parameters(form, joined, form.find_width(joined.numel()))
            layers[path] = join(
                new, {name: part[rows[name]] if name in rows else part for name, part in parts.items()}
            )
        return TrainedRouter(new, layers)

    def append(self, name: str, prototypes: Mapping[str, Tensor]) -> "TrainedRouter":
        """Return the router with one more routed expert; all other rows stay unchanged.

        The new expert's row at a layer is its prototype. It is scaled to the mean norm of the other rows and
        gets the sign that agrees with their sum, since norm and sign of a prototype are arbitrary. At a layer
        that the router does not have, the others' rows are zero.

        Args:
            name: the expert's name.
            prototypes: module path -> ``[I]``; zeros, or nothing, where it changes nothing.

        Raises:
            ValueError: if the router's form has no row for a new expert; the message has the reason.
        """
        fault = find_append_fault(self.form)
        if fault:
            raise ValueError(f"expert {name!r} cannot be added to the trained router: {fault}")
        form = self.form
        new = replace(form, experts=(*form.experts, name))
        layers = {}
        for path in dict.fromkeys([*self.layers, *prototypes]):
            width = len(prototypes[path]) if path in prototypes else None
            joined = self.layers.get(path)
            joined = torch.zeros(form.count(width or 0)) if joined is None else joined
            parts = split_parameters(form, joined, form.find_width(joined.numel()))
            row = _place_prototype(prototypes.get(path), parts["rows"])
            layers[path] = join(new, {**parts, "rows": torch.cat([parts["rows"], row[None]])})
        return TrainedRouter(new, layers)


def find_append_fault(form: MoeForm) -> str | None:
    """Return why a router has no row for a new expert; None if it has one."""
    if form.kind == "product_keys":
        return (
            "with product keys its score would be the sum of its row's and its column's, which other experts "
            "share: train the router again with it, or train one of kind linear"
        )
    if form.groups is not None:
        return "its group is not known: train the router again with it, or one without groups"
    return None


def unpack_router(tensors: Mapping[str, Tensor]) -> TrainedRouter:
    """Read a router that ``TrainedRouter.pack`` has written; tensors from a file are untrusted.

    Raises:
        ValueError: if they are not a trained router.
    """
    if tensors.keys() != {FORM, LAYOUT, PARAMETERS}:
        raise ValueError(
            f"a trained router must have {FORM}, {LAYOUT} and {PARAMETERS}, found "
            f"{quote(sorted(tensors), 200)}"
        )
    form = read_form(_decode(FORM, tensors[FORM]))
    layout = parse_json_object(_decode(LAYOUT, tensors[LAYOUT]), "the layout of a router")
    parameters = tensors[PARAMETERS]
    if parameters.dtype != torch.float32 or parameters.dim() != 1 or not parameters.isfinite().all():
        raise ValueError("the parameters of a router must be finite float32 numbers [P]")
    sizes = list(layout.values())
    if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) != len(parameters):
        raise ValueError(
            f"the layout of a router must add up to its {say_count(len(parameters), 'parameter')}"
        )
    for size in set(sizes):
        form.find_width(size)
    return TrainedRouter(form, dict(zip(layout, parameters.split(sizes), strict=True)))


def join(form: MoeForm, parts: Mapping[str, Tensor]) -> Tensor:
    """Join a layer's parameters in the order of the form; those that it does not have are left out."""
    return torch.cat([parts[name].flatten() for name in form.outline(1)])


def _place_prototype(prototype: Tensor | None, rows: Tensor) -> Tensor:
    if prototype is None:
        return rows.new_zeros(rows.shape[1])
    direction = prototype.float() / prototype.float().norm().clamp_min(torch.finfo(torch.float32).tiny)
    length = rows.norm(dim=1).mean()
    sign = -1.0 if float(direction @ rows.sum(0)) < 0 else 1.0
    return sign * (length if length > 0 else 1.0) * direction


def _encode(content: bytes) -> Tensor:
    return torch.tensor(list(content), dtype=torch.uint8)


def _decode(name: str, tensor: Tensor) -> bytes:
    if tensor.dtype != torch.uint8 or tensor.dim() != 1:
        raise ValueError(f"the {name} of a router must be bytes, found {tensor.dtype} {list(tensor.shape)}")
    return tensor.cpu().numpy().tobytes()
