"""What calibrated routing knows about the experts on one model: each expert's is found once, when asked for.

E experts that a router may choose, R rank, I layer input.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorary.assembly.cache import Artifact, Compute, keep_artifacts
from lorary.assembly.generic_statistics import measure_deviations, measure_readings
from lorary.assembly.generic_text import GenericRequests
from lorary.experts import Expert
from lorary.library import Library
from lorary.models import BaseModel, ExpertStack
from lorary.routing import CalibratedConfig, DeviationReader, whiten_readings
from lorary.routing.spectr import find_norm_roots
from lorary.transforms.stacks import stack_factors

ALGORITHM = "calibrated-deviation-1"


class Calibrations:
    """Calibrations of the experts on one model, a row per expert and layer.

    Args:
        base: the base model.
        experts: those that a router may choose. The artifacts of a ``Library`` are used, else the cache's.
    """

    def __init__(self, base: BaseModel, experts: Mapping[str, Expert]):
        self._base = base
        self._experts = experts
        self._added: dict[str, Expert] = {}
        self._known: dict[str, dict[str, Artifact]] = {}

    def find(
        self, config: CalibratedConfig, stack: ExpertStack, names: Sequence[str]
    ) -> dict[str, dict[str, Tensor]]:
        """Give what a router is built from.

        Args:
            config: the router's.
            stack: the experts on the model.
            names: those that it may choose.

        Returns:
            Field of ``LayerMaterial`` -> module path -> a row for each name; zeros where an expert does not
            change the layer.
        """
        requests = GenericRequests(self._base, stack, config.generic)
        parameters = requests.identity | {"ridge": config.ridge, "last_share": config.last_share}
        known = self._known.setdefault(json.dumps(parameters, sort_keys=True), {})

        def compute(experts: Mapping[str, Expert]) -> dict[str, Artifact]:
            return _calibrate(config, stack, requests.sequences(), experts)

        for experts in (self._added, self._experts):
            missing = [name for name in names if name not in known and name in experts]
            if missing:
                known |= keep_artifacts(experts, missing, ALGORITHM, parameters, compute)
        return _stack_fields(stack, [known[name] for name in names])

    def store(self, library: Library, names: Sequence[str]) -> None:
        """Put what was found already into a library's artifacts; the experts there have the same weights.

        Raises:
            LibraryError: if it cannot be written.
        """
        for parameters, known in self._known.items():
            present = [name for name in names if name in known]
            library.artifacts(ALGORITHM, json.loads(parameters), _giving(known), present)

    def add(self, expert: Expert) -> None:
        """Take note of one more expert, whatever the library has under its name."""
        self._added[expert.name] = expert

    def remove(self, name: str) -> None:
        """Forget an expert."""
        self._added.pop(name, None)
        for known in self._known.values():
            known.pop(name, None)


def _giving(known: Mapping[str, Artifact]) -> Compute:
    return lambda experts: {name: known[name] for name in experts}


def _calibrate(
    config: CalibratedConfig,
    stack: ExpertStack,
    sequences: Sequence[Sequence[int]],
    experts: Mapping[str, Expert],
) -> dict[str, Artifact]:
    """Compute one artifact per expert."""
    loaded = dict(experts.items())
    a, roots = {}, {}
    for path in sorted({path for expert in loaded.values() for path in expert.factors}):
        layer = stack.layers[path]
        a[path], b = (part.to(layer.a.device) for part in stack_factors(loaded, path, layer.a.dtype))
        roots[path] = find_norm_roots(b)
    readers, offsets = {}, {}
    for path, moments in measure_readings(stack, a, sequences).items():
        readers[path], offsets[path] = whiten_readings(roots[path], *moments, config.ridge)
    reader = DeviationReader(a, readers, offsets, last_share=config.last_share)
    packed = {name: _Packed() for name in loaded}
    for path, (means, deviations) in measure_deviations(stack, reader, sequences).items():
        for index, (name, expert) in enumerate(loaded.items()):
            if path in expert.factors:
                rank = expert.factors[path].a.shape[0]
                packed[name].add(
                    path,
                    readers[path][index, :rank, :rank],
                    offsets[path][index, :rank],
                    torch.stack([means[index], deviations[index]]),
                )
    return {name: rows.artifact() for name, rows in packed.items()}


@dataclass
class _Packed:
    """One expert's calibration, layer after layer: a file with a tensor for each would read far slower."""

    ranks: dict[str, int] = field(default_factory=dict)
    readers: list[Tensor] = field(default_factory=list)
    offsets: list[Tensor] = field(default_factory=list)
    levels: list[Tensor] = field(default_factory=list)

    def add(self, path: str, reader: Tensor, offset: Tensor, level: Tensor) -> None:
        self.ranks[path] = len(offset)
        self.readers.append(reader.cpu().flatten())
        self.offsets.append(offset.cpu())
        self.levels.append(level.cpu())

    def artifact(self) -> dict[str, Tensor]:
        layout = torch.tensor(list(json.dumps(self.ranks).encode()), dtype=torch.uint8)
        return {
            "readers": torch.cat(self.readers),
            "offsets": torch.cat(self.offsets),
            "levels": torch.stack(self.levels),
            "layout": layout,
        }


def _unpack(artifact: Artifact) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Give reader ``[R, R]``, offset ``[R]`` and mean with deviation ``[2]`` by module path."""
    ranks: dict[str, int] = json.loads(artifact["layout"].numpy().tobytes())
    readers = artifact["readers"].split([rank**2 for rank in ranks.values()])
    offsets = artifact["offsets"].split(list(ranks.values()))
    return {
        path: (reader.unflatten(0, (rank, rank)), offset, level)
        for (path, rank), reader, offset, level in zip(
            ranks.items(), readers, offsets, artifact["levels"], strict=True
        )
    }


def _stack_fields(stack: ExpertStack, artifacts: Sequence[Artifact]) -> dict[str, dict[str, Tensor]]:
    """Bring experts' artifacts together, layer by layer; ranks are filled up with zeros."""
    rows = [_unpack(artifact) for artifact in artifacts]
    fields = ("readers", "offsets", "generic_means", "generic_deviations")
    found: dict[str, dict[str, Tensor]] = {name: {} for name in fields}
    for path, layer in stack.layers.items():
        rank = layer.a.shape[1]
        missing = torch.zeros(0, 0), torch.zeros(0), torch.zeros(2)
        own = [row.get(path, missing) for row in rows]
        gaps = [rank - len(offset) for _, offset, _ in own]
        found["readers"][path] = torch.stack(
            [pad(reader, (0, gap, 0, gap)) for (reader, _, _), gap in zip(own, gaps, strict=True)]
        )
        found["offsets"][path] = torch.stack(
            [pad(offset, (0, gap)) for (_, offset, _), gap in zip(own, gaps, strict=True)]
        )
        levels = torch.stack([level for _, _, level in own])
        found["generic_means"][path], found["generic_deviations"][path] = levels.unbind(1)
    return found
