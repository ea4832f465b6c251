"""What calibrated routing knows about the experts on one model: each expert's is found once, when asked for.

E experts that a router may choose, I layer input.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorary.assembly.cache import Artifact, keep_artifacts
from lorary.assembly.generic_statistics import measure_inputs, measure_log_lengths
from lorary.assembly.generic_text import GenericText
from lorary.experts import Expert
from lorary.models import BaseModel, ExpertStack
from lorary.routing import CalibratedConfig, whiten_prototypes
from lorary.transforms import library_prototypes

ALGORITHMS = {"whitened": "calibrated-whitened-1", "energy": "calibrated-energy-1"}

Rows = Mapping[str, tuple[Tensor, ...]]
"""What is known of one expert: module path -> a tensor for each field."""


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
        text = GenericText(self._base, stack, config.generic)
        parameters = text.identity | ({"ridge": config.ridge} if config.score == "whitened" else {})
        known = self._known.setdefault(json.dumps([config.score, parameters], sort_keys=True), {})

        def compute(experts: Mapping[str, Expert]) -> dict[str, Artifact]:
            return _calibrate(config, stack, text, experts)

        for experts in (self._added, self._experts):
            missing = [name for name in names if name not in known and name in experts]
            if missing:
                known |= keep_artifacts(experts, missing, ALGORITHMS[config.score], parameters, compute)
        return _stack_fields(config, stack, [known[name] for name in names])

    def add(self, expert: Expert) -> None:
        """Take note of one more expert, whatever the library has under its name."""
        self._added[expert.name] = expert

    def remove(self, name: str) -> None:
        """Forget an expert."""
        self._added.pop(name, None)
        for known in self._known.values():
            known.pop(name, None)


def _calibrate(
    config: CalibratedConfig, stack: ExpertStack, text: GenericText, experts: Mapping[str, Expert]
) -> dict[str, Artifact]:
    """Compute one artifact per expert."""
    found: dict[str, dict[str, tuple[Tensor, ...]]] = {name: {} for name in experts}
    loaded = dict(experts.items())
    changed = {name: expert.factors.keys() for name, expert in loaded.items()}
    if config.score == "whitened":
        prototypes = {path: rows for path, (rows, _) in library_prototypes(loaded).items()}
        for path, moments in measure_inputs(stack, list(prototypes), text.sequences()):
            rows = prototypes[path].to(moments.mean.device)
            directions, offsets = (part.cpu() for part in whiten_prototypes(rows, *moments, config.ridge))
            for index, name in enumerate(experts):
                if path in changed[name]:
                    found[name][path] = directions[index], offsets[index : index + 1]
        return {name: _pack(("directions", "offsets"), rows) for name, rows in found.items()}
    for path, lengths in measure_log_lengths(stack, loaded, text.sequences()).items():
        for index, name in enumerate(experts):
            if path in changed[name]:
                found[name][path] = (lengths[index : index + 1],)
    return {name: _pack(("log_lengths",), rows) for name, rows in found.items()}


def _pack(fields: Sequence[str], rows: Rows) -> dict[str, Tensor]:
    """Put layers one after the other: a file with a tensor per layer takes far longer to read."""
    layout: dict[str, Any] = {path: [len(part) for part in parts] for path, parts in rows.items()}
    packed = {
        field: torch.cat([parts[place] for parts in rows.values()]) for place, field in enumerate(fields)
    }
    return {**packed, "layout": torch.tensor(list(json.dumps(layout).encode()), dtype=torch.uint8)}


def _unpack(fields: Sequence[str], artifact: Artifact) -> dict[str, dict[str, Tensor]]:
    layout = json.loads(artifact["layout"].numpy().tobytes())
    return {
        field: dict(
            zip(layout, artifact[field].split([sizes[place] for sizes in layout.values()]), strict=True)
        )
        for place, field in enumerate(fields)
    }


def _stack_fields(
    config: CalibratedConfig, stack: ExpertStack, artifacts: Sequence[Artifact]
) -> dict[str, dict[str, Tensor]]:
    """Bring experts' artifacts together, layer by layer."""
    fields = ("directions", "offsets") if config.score == "whitened" else ("log_lengths",)
    rows = [_unpack(fields, artifact) for artifact in artifacts]
    found: dict[str, dict[str, Tensor]] = {}
    for field in fields:
        found[field] = {}
        for path, layer in stack.layers.items():
            missing = torch.zeros(layer.a.shape[2] if field == "directions" else 1)
            stacked = torch.stack([own[field].get(path, missing) for own in rows])
            found[field][path] = stacked if field == "directions" else stacked.squeeze(1)
    return found
