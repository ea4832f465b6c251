"""Calibrations: how strongly each expert reacts to generic requests at each layer, as a mean and a deviation.

Sub-layers of a mixture of experts see only some tokens, so they are not measured.

They also have what is needed to measure a reaction: a whitening matrix and an offset in rank space.

E experts that a router may choose, R rank, I layer input.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorary.experts import Expert, read_alike
from lorary.experts.stacked_parameters import is_sub_layer
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.generic_statistics import (
    KeptPass,
    count_kept_bytes,
    measure_deviations,
    measure_kept_deviations,
    measure_readings,
)
from lorary.facts.generic_text import GenericRequests
from lorary.facts.rows import write_layout
from lorary.facts.soundness import (
    Artifact,
    CarriedExperts,
    KnownExperts,
    has_form,
    read_any_layout,
    read_layout,
)
from lorary.library.derive import Selection
from lorary.models import ExpertStack
from lorary.models.architecture import is_encoder_decoder
from lorary.models.called import find_reading_layers
from lorary.routing.calibrated import whiten_readings
from lorary.routing.calibrated_router import DeviationMeter
from lorary.routing.spectr import compute_norm_roots

ALGORITHM = "calibrated-deviation-1"
# The name of the whitening matrices in stored artifacts, which earlier versions wrote.
STORED_WHITENERS = "readers"
# Bytes of readings that may be kept, so that generic requests are read once: on SmolLM2-135M in bfloat16
# those of 18 experts of rank 16.
MOST_KEPT = 2**31


def _make_requests(context: Context) -> GenericRequests:
    return GenericRequests(context.base, context.stack, context.options["generic"])


def _identify(context: Context) -> dict[str, Any]:
    options = {name: context.options[name] for name in ("ridge", "last_share")}
    return {**_make_requests(context).identity, **options}


def _compute(context: Context, names: Sequence[str]) -> dict[str, Artifact]:
    stack, options = context.stack, context.options
    sequences = _make_requests(context).sequences(context.on_work)
    # A library reads experts of the same layout together, so all names are asked for at once.
    loaded = dict(Selection(context.experts, names).items())
    for name, expert in loaded.items():
        if all(map(is_sub_layer, expert.outlines)):
            raise ValueError(
                f"calibrations are measured at layers that see every token, but expert {name!r} changes only "
                "sub-layers of mixtures of experts: use a router without calibrations, such as 'arrow', or "
                "name experts"
            )
    a, roots = _read_factors(stack, list(loaded.values()))
    whiteners, offsets = {}, {}
    fits = count_kept_bytes(a, sequences, stack.model.dtype) <= MOST_KEPT
    kept: list[KeptPass] | None = [] if fits else None
    first, second = _split_progress(context.on_progress, fits)
    for path, moments in measure_readings(stack, a, sequences, keep=kept, on_progress=first).items():
        whiteners[path], offsets[path] = whiten_readings(roots[path], *moments, options["ridge"])
    meter = DeviationMeter(a, whiteners, offsets, last_share=options["last_share"])
    # Without room for the readings, the requests are read a second time.
    measured = (
        measure_deviations(stack, meter, sequences, on_progress=second)
        if kept is None
        else measure_kept_deviations(meter, kept)
    )
    packed = {name: _Packed() for name in loaded}
    for path, (means, deviations) in measured.items():
        for index, (name, expert) in enumerate(loaded.items()):
            if path in expert.outlines:
                rank = expert.outlines[path].rank
                packed[name].add(
                    path,
                    whiteners[path][index, :rank, :rank],
                    offsets[path][index, :rank],
                    torch.stack([means[index], deviations[index]]),
                )
    for name, expert in loaded.items():
        unread = {path for path in expert.ranks if path not in measured and not is_sub_layer(path)}
        packed[name].add_zeros({path: rank for path, rank in expert.ranks.items() if path in unread})
    return {name: rows.artifact() for name, rows in packed.items()}


def _find_layers(stack: ExpertStack, experts: Sequence[Expert]) -> list[str]:
    """Find the layers at which experts are calibrated: those that read the tokens of requests."""
    paths = sorted({path for expert in experts for path in expert.ranks if not is_sub_layer(path)})
    if is_encoder_decoder(stack.model):
        reading = find_reading_layers(stack.model)
        paths = [path for path in paths if path in reading]
    if not paths:
        raise ValueError(
            "the calibrated router needs experts that change layers of the encoder, or keys and values of "
            "cross-attention, found none: use another router, such as 'arrow'"
        )
    return paths


def _split_progress(
    report: Callable[[int, int], None] | None, is_read_once: bool
) -> tuple[Callable[[int, int], None] | None, Callable[[int, int], None] | None]:
    """Return the progress of the first and the second reading of the requests, as parts of one."""
    if report is None or is_read_once:
        return report, None
    return (
        lambda done, total: report(done, 2 * total),
        lambda done, total: report(total + done, 2 * total),
    )


def _read_factors(
    stack: ExpertStack, experts: Sequence[Expert]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return down-projections ``[E, R, I]`` and roots of ``bᵀb``, ``[E, R, R]``, by module path."""
    a, roots = {}, {}
    ranks = [expert.ranks for expert in experts]
    for path in _find_layers(stack, experts):
        layer = stack.layers[path]
        rank = max(own.get(path, 0) for own in ranks)
        a[path] = layer.a.new_zeros(len(experts), rank, layer.a.shape[2])
        roots[path] = layer.a.new_zeros(len(experts), rank, rank, dtype=torch.float32)
    for where, pairs in read_alike(experts):
        for path, (own_a, own_b) in pairs.items():
            if path not in a:
                continue
            rank = own_a.shape[1]
            a[path][where, :rank] = own_a
            roots[path][where, :rank, :rank] = compute_norm_roots(own_b.to(a[path].device, a[path].dtype))
    return a, roots


@dataclass
class _Packed:
    """One expert's calibration, with all layers joined: a file with a tensor per layer is read far slower."""

    ranks: dict[str, int] = field(default_factory=dict)
    whiteners: list[Tensor] = field(default_factory=list)
    offsets: list[Tensor] = field(default_factory=list)
    levels: list[Tensor] = field(default_factory=list)

    def add(self, path: str, whitener: Tensor, offset: Tensor, level: Tensor) -> None:
        self.ranks[path] = len(offset)
        self.whiteners.append(whitener.cpu().flatten())
        self.offsets.append(offset.cpu())
        self.levels.append(level.cpu())

    def add_zeros(self, ranks: Mapping[str, int]) -> None:
        """Add layers that read no tokens of requests; where an expert has zeros, no reaction counts."""
        for path, rank in ranks.items():
            self.add(path, torch.zeros(rank, rank), torch.zeros(rank), torch.zeros(2))

    def artifact(self) -> dict[str, Tensor]:
        return {
            STORED_WHITENERS: torch.cat(self.whiteners),
            "offsets": torch.cat(self.offsets),
            "levels": torch.stack(self.levels),
            "layout": write_layout(self.ranks),
        }


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    """Stack the artifacts of several experts, layer by layer; ranks are padded with zeros."""
    fields = ("whiteners", "offsets", "generic_means", "generic_deviations")
    found: dict[str, dict[str, Tensor]] = {name: {} for name in fields}
    count = len(artifacts)
    for path, layer in context.stack.layers.items():
        rank = layer.a.shape[1]
        for name, shape in zip(fields, [(rank, rank), (rank,), (), ()], strict=True):
            found[name][path] = torch.zeros(count, *shape)
    # Experts with the same layers and ranks are split into layers together.
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, artifact in enumerate(artifacts):
        alike[artifact["layout"].numpy().tobytes()].append(index)
    for rows in alike.values():
        ranks = read_layout(artifacts[rows[0]])
        whiteners, offsets, levels = (
            torch.stack([artifacts[row][name] for row in rows])
            for name in (STORED_WHITENERS, "offsets", "levels")
        )
        parts = zip(
            ranks.items(),
            whiteners.split([rank**2 for rank in ranks.values()], dim=1),
            offsets.split(list(ranks.values()), dim=1),
            levels.unbind(1),
            strict=True,
        )
        for (path, rank), whitener, offset, level in parts:
            found["whiteners"][path][rows, :rank, :rank] = whitener.unflatten(1, (rank, rank))
            found["offsets"][path][rows, :rank] = offset
            found["generic_means"][path][rows], found["generic_deviations"][path][rows] = level.unbind(1)
    return found


def are_sound_calibrations(known: KnownExperts, name: str, artifact: Artifact) -> bool:
    """Return whether an artifact's layout, sizes and numbers suit this expert's calibrations."""
    ranks = {path: rank for path, (rank, _) in known.find_shapes(name).items() if not is_sub_layer(path)}
    sizes = {
        STORED_WHITENERS: (sum(rank**2 for rank in ranks.values()),),
        "offsets": (sum(ranks.values()),),
        "levels": (len(ranks), 2),
    }
    return (
        has_form(artifact, sizes)
        and read_any_layout(artifact) == ranks
        and bool((artifact["levels"][:, 1] >= 0).all())
    )


CALIBRATIONS = Fact(
    name="calibrations",
    source=Source.GENERIC,
    compute=_compute,
    shapes={"whiteners": "ERR", "offsets": "ER", "generic_means": "E", "generic_deviations": "E"},
    algorithm=ALGORITHM,
    is_cached=True,
    work="calibrating {experts} on generic requests, once: the result is stored",
    identify=_identify,
    check=lambda context: partial(are_sound_calibrations, CarriedExperts(context.stack)),
    unpack=_unpack,
)
