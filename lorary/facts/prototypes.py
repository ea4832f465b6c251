"""Arrow prototypes: the unit input that each expert amplifies most at each layer, and by how much."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
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
from lorary.routing.named import LayerPrototypes
from lorary.transforms.prototypes import library_prototypes

# An expert's artifact: all its prototypes one after the other, float32 [sum of I], its gains [layers], and as
# "layout" the bytes of a JSON object, module path -> I. A tensor per layer would take ten times as long.
ALGORITHM = "arrow-prototypes-2"
# A prototype is a unit vector; it was computed in float32.
_TOLERANCE = 0.01


def find_prototypes(
    experts: Mapping[str, Expert],
    names: Sequence[str] | None = None,
    *,
    on_computed: Callable[[Sequence[str]], None] | None = None,
) -> dict[str, LayerPrototypes]:
    """Give every layer's prototypes and gains; a ``Library`` computes and stores only those it has not yet.

    Args:
        experts: name -> expert.
        names: which of them, in the order of the answer's rows; None for all, in the mapping's order.
        on_computed: called with the names of each batch of experts whose prototypes had to be computed.

    Returns:
        Module path -> prototypes ``[E, I]`` and gains ``[E]``, as ``library_prototypes`` gives them.

    Raises:
        ValueError, IncompatibleExpert, FormatError: as ``library_prototypes`` does.
        LibraryError: if the artifacts cannot be written.
    """

    def note(computed: Sequence[str]) -> None:
        if on_computed is not None:
            on_computed(computed)

    if not isinstance(experts, Library):
        found = library_prototypes(experts, names)
        note(list(experts) if names is None else names)
        return found

    def compute(batch: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
        artifacts = compute_prototypes(batch)
        note(list(batch))
        return artifacts

    is_sound = partial(are_sound_prototypes, StoredExperts(experts))
    return gather_prototypes(list(experts.artifacts(ALGORITHM, {}, compute, names, is_sound).items()))


def compute_prototypes(experts: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
    """Compute an artifact per expert."""
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
    """Bring experts' artifacts together; those that change the same layers are taken apart at once."""
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
            f"experts must change layers of one shape, but the input of module {quote(path)} is {known} "
            f"wide for some and {width} wide for expert {name!r}: were they trained on the same base model?"
        )


def are_sound_prototypes(known: KnownExperts, name: str, artifact: Artifact) -> bool:
    """Tell whether an artifact may hold this expert's prototypes.

    It may have zeros for layers that only others change.
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
    return all(
        path not in own or known.adds_nothing(name, path) if gain == 0 else path in own
        for path, gain in zip(layout, gains.tolist(), strict=True)
    )


def unpack_prototypes(
    context: Context, names: Sequence[str], artifacts: Sequence[Artifact], prefix: str = ""
) -> Laid:
    """Give each layer's prototypes ``[E, I]`` and gains ``[E]``; zeros where an expert leaves it alone."""
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
    advice="compute them with lorary.facts.find_prototypes",
    compute=lambda context, names: compute_prototypes(Selection(context.experts, names)),
    shapes={"prototypes": "EI", "gains": "E"},
    algorithm=ALGORITHM,
    check=lambda context: partial(are_sound_prototypes, CarriedExperts(context.stack)),
    unpack=unpack_prototypes,
)
