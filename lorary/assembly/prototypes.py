"""Arrow prototypes of a library, taken from its artifacts where they are stored already."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lorary.experts import Expert
from lorary.library import Library
from lorary.routing.named import LayerPrototypes
from lorary.transforms import library_prototypes

ALGORITHM = "arrow-prototypes-1"


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
        artifacts = _compute(batch)
        note(list(batch))
        return artifacts

    return _gather(experts.artifacts(ALGORITHM, {}, compute, names))


def _compute(experts: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
    artifacts: dict[str, dict[str, Tensor]] = {name: {} for name in experts}
    for path, (prototypes, gains) in library_prototypes(experts).items():
        for index, artifact in enumerate(artifacts.values()):
            artifact[f"{path}/prototype"] = prototypes[index].contiguous()
            artifact[f"{path}/gain"] = gains[index].clone()
    return artifacts


def _gather(artifacts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, LayerPrototypes]:
    widths = {
        key.removesuffix("/prototype"): tensor.shape[0]
        for artifact in artifacts.values()
        for key, tensor in artifact.items()
        if key.endswith("/prototype")
    }
    found = {}
    for path, width in widths.items():
        nothing = torch.zeros(width), torch.zeros(())
        rows = [
            (artifact.get(f"{path}/prototype", nothing[0]), artifact.get(f"{path}/gain", nothing[1]))
            for artifact in artifacts.values()
        ]
        found[path] = torch.stack([row for row, _ in rows]), torch.stack([gain for _, gain in rows])
    return found
