"""What calibrated routing knows about the experts on one model: each expert's is found once, when asked for.

E experts that a router may choose, R rank, I layer input.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lorary.experts import Expert, read_alike
from lorary.facts.generic_statistics import measure_deviations, measure_readings
from lorary.facts.generic_text import GenericRequests
from lorary.facts.keeping import keep_artifacts
from lorary.facts.soundness import Artifact, CarriedExperts, are_sound_calibrations, read_layout
from lorary.library import Library
from lorary.library.derive import Compute
from lorary.models import BaseModel, ExpertStack
from lorary.routing import CalibratedConfig, DeviationReader, whiten_readings
from lorary.routing.spectr import find_norm_roots

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

        is_sound = partial(are_sound_calibrations, CarriedExperts(stack))
        for experts in (self._added, self._experts):
            missing = [name for name in names if name not in known and name in experts]
            if missing:
                wanted = dict.fromkeys(missing, parameters)
                known |= keep_artifacts(experts, ALGORITHM, wanted, compute, is_sound)
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
    a, roots = _read_factors(stack, list(loaded.values()))
    readers, offsets = {}, {}
    for path, moments in measure_readings(stack, a, sequences).items():
        readers[path], offsets[path] = whiten_readings(roots[path], *moments, config.ridge)
    reader = DeviationReader(a, readers, offsets, last_share=config.last_share)
    packed = {name: _Packed() for name in loaded}
    for path, (means, deviations) in measure_deviations(stack, reader, sequences).items():
        for index, (name, expert) in enumerate(loaded.items()):
            if path in expert.outlines:
                rank = expert.outlines[path].rank
                packed[name].add(
                    path,
                    readers[path][index, :rank, :rank],
                    offsets[path][index, :rank],
                    torch.stack([means[index], deviations[index]]),
                )
    return {name: rows.artifact() for name, rows in packed.items()}


def _read_factors(
    stack: ExpertStack, experts: Sequence[Expert]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give down-projections ``[E, R, I]`` and roots of up-projections ``[E, R, R]`` by module path."""
    a, roots = {}, {}
    ranks = [expert.ranks for expert in experts]
    for path in sorted({path for own in ranks for path in own}):
        layer = stack.layers[path]
        rank = max(own.get(path, 0) for own in ranks)
        a[path] = layer.a.new_zeros(len(experts), rank, layer.a.shape[2])
        roots[path] = layer.a.new_zeros(len(experts), rank, rank, dtype=torch.float32)
    for where, pairs in read_alike(experts):
        for path, (own_a, own_b) in pairs.items():
            rank = own_a.shape[1]
            a[path][where, :rank] = own_a
            roots[path][where, :rank, :rank] = find_norm_roots(own_b.to(a[path].device, a[path].dtype))
    return a, roots


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


def _stack_fields(stack: ExpertStack, artifacts: Sequence[Artifact]) -> dict[str, dict[str, Tensor]]:
    """Bring experts' artifacts together, layer by layer; ranks are filled up with zeros."""
    fields = ("readers", "offsets", "generic_means", "generic_deviations")
    found: dict[str, dict[str, Tensor]] = {name: {} for name in fields}
    count = len(artifacts)
    for path, layer in stack.layers.items():
        rank = layer.a.shape[1]
        for name, shape in zip(fields, [(rank, rank), (rank,), (), ()], strict=True):
            found[name][path] = torch.zeros(count, *shape)
    # Experts that change the same layers by the same ranks are taken apart at once.
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, artifact in enumerate(artifacts):
        alike[artifact["layout"].numpy().tobytes()].append(index)
    for rows in alike.values():
        ranks = read_layout(artifacts[rows[0]])
        readers, offsets, levels = (
            torch.stack([artifacts[row][name] for row in rows]) for name in ("readers", "offsets", "levels")
        )
        parts = zip(
            ranks.items(),
            readers.split([rank**2 for rank in ranks.values()], dim=1),
            offsets.split(list(ranks.values()), dim=1),
            levels.unbind(1),
            strict=True,
        )
        for (path, rank), reader, offset, level in parts:
            found["readers"][path][rows, :rank, :rank] = reader.unflatten(1, (rank, rank))
            found["offsets"][path][rows, :rank] = offset
            found["generic_means"][path][rows], found["generic_deviations"][path][rows] = level.unbind(1)
    return found
