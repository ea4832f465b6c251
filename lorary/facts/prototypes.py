"""Arrow prototypes of a library, taken from its artifacts where they are stored already."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.facts.soundness import KnownExperts, StoredExperts, are_sound_prototypes, read_layout
from lorary.files import quote
from lorary.library import Library
from lorary.routing.named import LayerPrototypes
from lorary.transforms import library_prototypes

# An expert's artifact: all its prototypes one after the other, float32 [sum of I], its gains [layers], and as
# "layout" the bytes of a JSON object, module path -> I. A tensor per layer would take ten times as long.
ALGORITHM = "arrow-prototypes-2"


def find_prototypes(
    experts: Mapping[str, Expert],
    names: Sequence[str] | None = None,
    *,
    on_computed: Callable[[Sequence[str]], None] | None = None,
    known: KnownExperts | None = None,
) -> dict[str, LayerPrototypes]:
    """Give every layer's prototypes and gains; a ``Library`` computes and stores only those it has not yet.

    Args:
        experts: name -> expert.
        names: which of them, in the order of the answer's rows; None for all, in the mapping's order.
        on_computed: called with the names of each batch of experts whose prototypes had to be computed.
        known: what stored prototypes must fit, else they are computed again; None for the experts as they lie
            in the library.

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
        artifacts = _compute(batch)
        note(list(batch))
        return artifacts

    is_sound = partial(are_sound_prototypes, known or StoredExperts(experts))
    return _gather(experts.artifacts(ALGORITHM, {}, compute, names, is_sound))


def _compute(experts: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
    found = library_prototypes(experts)
    widths = {path: rows.shape[1] for path, (rows, _) in found.items()}
    rows = torch.cat([rows for rows, _ in found.values()], dim=1)
    gains = torch.stack([gains for _, gains in found.values()], dim=1)
    layout = torch.tensor(list(json.dumps(widths).encode()), dtype=torch.uint8)
    return {
        name: {"prototypes": rows[index], "gains": gains[index], "layout": layout}
        for index, name in enumerate(experts)
    }


def _gather(artifacts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, LayerPrototypes]:
    """Bring experts' artifacts together; those that change the same layers are taken apart at once."""
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, artifact in enumerate(artifacts.values()):
        alike[artifact["layout"].numpy().tobytes()].append(index)
    everyone = list(artifacts.values())
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
            _refuse_other_width(path, known[0].shape[1], width, list(artifacts)[indices[0]])
            for all_rows, own_rows in zip(known, part, strict=True):
                all_rows[indices] = own_rows
    return {path: found[path] for path in sorted(found)}


def _refuse_other_width(path: str, known: int, width: int, name: str) -> None:
    if known != width:
        raise IncompatibleExpert(
            f"experts must change layers of one shape, but the input of module {quote(path)} is {known} "
            f"wide for some and {width} wide for expert {name!r}: were they trained on the same base model?"
        )
