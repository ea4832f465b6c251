"""Arrow prototypes: the unit input that each expert amplifies most at each layer, and its gain.

E experts, N experts of a batch, I layer input.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.routed import list_routed
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.rows import write_layout
from lorary.facts.soundness import (
    Artifact,
    CarriedExperts,
    KnownExperts,
    StoredExperts,
    has_form,
    read_any_layout,
    read_layout,
)
from lorary.files import quote
from lorary.library import Library
from lorary.library.derive import Selection
from lorary.library.view import LibraryView
from lorary.transforms.prototypes import library_prototypes

LayerPrototypes = tuple[Tensor, Tensor]
"""One layer's prototypes ``[E, I]`` and gains ``[E]``."""

# An expert's artifact: its prototypes of all layers joined, float32 [sum of I], its gains [layers], and
# "layout", the bytes of a JSON object, module path -> I. One tensor per layer would take ten times as long
# to read.
ALGORITHM = "arrow-prototypes-2"
# Allowed error of a prototype's squared length, which is 1 up to float32 rounding.
_TOLERANCE = 0.01


def find_prototypes(
    experts: Mapping[str, Expert],
    names: Sequence[str] | None = None,
    *,
    on_computed: Callable[[Sequence[str]], None] | None = None,
) -> dict[str, LayerPrototypes]:
    """Return the prototypes and gains of every layer; missing ones are computed. A ``Library`` stores them.

    Args:
        experts: name -> expert.
        names: the experts, in the order of the returned rows; None for those of ``list_routed``.
        on_computed: called after each computed batch, with the names of its experts.

    Returns:
        Module path -> prototypes ``[E, I]`` and gains ``[E]``, as from ``library_prototypes``.

    Raises:
        ValueError, IncompatibleExpert, FormatError: as ``library_prototypes``.
        LibraryError: if the artifacts cannot be written.
    """

    def note(computed: Sequence[str]) -> None:
        if on_computed is not None:
            on_computed(computed)

    if not isinstance(experts, Library | LibraryView):
        found = library_prototypes(experts, names)
        note(list_routed(experts) if names is None else names)
        return found

    def compute(batch: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
        artifacts = compute_prototypes(batch)
        note(list(batch))
        return artifacts

    names = list_routed(experts) if names is None else names
    is_sound = partial(are_sound_prototypes, StoredExperts(experts))
    return gather_prototypes(list(experts.artifacts(ALGORITHM, {}, compute, names, is_sound).items()))


def compute_prototypes(experts: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
    """Compute the prototypes of some experts, as an artifact for each."""
    return pack_prototypes(library_prototypes(experts), list(experts))


def pack_prototypes(
    found: Mapping[str, LayerPrototypes], names: Sequence[str]
) -> dict[str, dict[str, Tensor]]:
    """Turn prototypes ``[N, I]`` and gains ``[N]`` by module path into an artifact per expert."""
    rows = torch.cat([rows for rows, _ in found.values()], dim=1)
    gains = torch.stack([gains for _, gains in found.values()], dim=1)
    layout = write_layout({path: rows.shape[1] for path, (rows, _) in found.items()})
    return {
        name: {"prototypes": rows[index], "gains": gains[index], "layout": layout}
        for index, name in enumerate(names)
    }


def gather_prototypes(artifacts: Sequence[tuple[str, Artifact]]) -> dict[str, LayerPrototypes]:
    """Stack experts' artifacts by layer, with zeros for experts that do not change a layer.

    Args:
        artifacts: pairs of an expert's name and its artifact.

    Returns:
        Module path -> prototypes ``[E, I]`` and gains ``[E]``, rows in the order of ``artifacts``.

    Raises:
        IncompatibleExpert: if two experts have different I for a layer.
    """
    # Experts with the same layout are split into layers together.
    everyone = [artifact for _, artifact in artifacts]
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, artifact in enumerate(everyone):
        alike[artifact["layout"].numpy().tobytes()].append(index)
    found: dict[str, LayerPrototypes] = {}
    for indices in alike.values():
        rows = torch.stack([everyone[index]["prototypes"] for index in indices])
        gains = torch.stack([everyone[index]["gains"] for index in indices])
        widths = read_layout(everyone[indices[0]])
        parts = zip(rows.split(list(widths.values()), dim=1), gains.unbind(1), strict=True)
        for (path, width), part in zip(widths.items(), parts, strict=True):
            if len(alike) == 1:
                found[path] = part[0].contiguous(), part[1].contiguous()
                continue
            known = found.setdefault(path, (torch.zeros(len(everyone), width), torch.zeros(len(everyone))))
            _refuse_other_width(path, known[0].shape[1], width, artifacts[indices[0]][0])
            for all_rows, own_rows in zip(known, part, strict=True):
                all_rows[indices] = own_rows
    return {path: found[path] for path in sorted(found)}


def _refuse_other_width(path: str, known: int, width: int, name: str) -> None:
    if known != width:
        raise IncompatibleExpert(
            f"experts must agree on the shapes of layers, but the input width of module {quote(path)} is "
            f"{known} for some experts and {width} for expert {name!r}: use experts of one base model"
        )


def are_sound_prototypes(known: KnownExperts, name: str, artifact: Artifact) -> bool:
    """Return whether an artifact's layout, sizes and numbers suit this expert's prototypes.

    Layers that only other experts change may be present, with zeros.
    """
    layout = read_any_layout(artifact)
    own = {path: width for path, (_, width) in known.find_shapes(name).items()}
    if layout is None or not own.keys() <= layout.keys():
        return False
    if any(width != (own.get(path) or known.find_width(path, width)) for path, width in layout.items()):
        return False
    if not has_form(artifact, {"prototypes": (sum(layout.values()),), "gains": (len(layout),)}):
        return False
    rows, gains = artifact["prototypes"], artifact["gains"]
    owner = torch.arange(len(layout)).repeat_interleave(torch.tensor(list(layout.values())))
    squares = torch.zeros(len(layout)).index_add_(0, owner, rows.square())
    is_unit = (squares - 1).abs() <= _TOLERANCE
    if not bool(torch.where(gains > 0, is_unit, gains == 0).all()):
        return False
    # A gain of 0 is right only where the expert adds nothing; any other gain needs a layer of the expert's.
    return all(
        path not in own or known.adds_nothing(name, path) if gain == 0 else path in own
        for path, gain in zip(layout, gains.tolist(), strict=True)
    )


def unpack_prototypes(
    context: Context, names: Sequence[str], artifacts: Sequence[Artifact], prefix: str = ""
) -> Laid:
    """Return prototypes ``[E, I]`` and gains ``[E]`` of each layer with experts.

    An expert that does not change a layer has zeros there. Names of tensors begin with ``prefix``.
    """
    count = len(names)
    found = gather_prototypes(list(zip(names, artifacts, strict=True)))
    pairs = {
        path: found.get(path) or (torch.zeros(count, layer.a.shape[2]), torch.zeros(count))
        for path, layer in context.stack.layers.items()
    }
    return {
        f"{prefix}prototypes": {path: rows for path, (rows, _) in pairs.items()},
        f"{prefix}gains": {path: gains for path, (_, gains) in pairs.items()},
    }


PROTOTYPES = Fact(
    name="prototypes",
    source=Source.EXPERTS,
    compute=lambda context, names: compute_prototypes(Selection(context.experts, names)),
    shapes={"prototypes": "EI", "gains": "E"},
    algorithm=ALGORITHM,
    work="computing prototypes of {experts}, once: the result is stored",
    check=lambda context: partial(are_sound_prototypes, CarriedExperts(context.stack)),
    unpack=unpack_prototypes,
)
