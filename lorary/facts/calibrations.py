"""Calibrations: how strongly each expert reacts to generic requests at each layer, as a mean and a deviation.

Sub-layers of a mixture of experts see only some tokens, so they are not measured.

They also contain a whitening matrix and an offset in rank space, which are needed to measure a reaction.

E experts that a router may choose, R rank, I layer input.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorary.experts.stacked_parameters import is_sub_layer
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.generic_inputs import find_generic_inputs
from lorary.facts.generic_text import GenericRequests
from lorary.facts.layer_calibration import LayerCalibration, calibrate_layer
from lorary.facts.learned import find_own_seed, put_learned, subtract_starts
from lorary.facts.rows import write_layout
from lorary.facts.soundness import (
    Artifact,
    CarriedExperts,
    KnownExperts,
    has_form,
    read_any_layout,
    read_layout,
)
from lorary.facts.token_sample import TokenSample
from lorary.models import ExpertStack
from lorary.models.architecture import is_encoder_decoder
from lorary.models.called import find_reading_layers
from lorary.models.same_input import group_same_inputs
from lorary.routing.spectr import compute_norm_roots

ALGORITHM = "calibrated-deviation-1"
# The name of the whitening matrices in stored artifacts, which earlier versions wrote.
STORED_WHITENERS = "readers"
# The ridge, if the user names none, of experts with their whole ``a``, and of those less their random start.
WHOLE_RIDGE, LEARNED_RIDGE = 0.01, 0.001
# Maximum number of tokens of a generic request that are measured besides its last one.
MOST_TOKENS = 8
# A user's requests are measured whole if they have no more tokens together.
FEW_TOKENS = 1000


def _make_requests(context: Context) -> GenericRequests:
    return GenericRequests(context.base, context.stack, context.options["generic"])


def _identify(context: Context) -> dict[str, Any]:
    options = {name: context.options[name] for name in ("ridge", "last_share")}
    # Earlier versions subtracted nothing, and had no key for it: experts without a start keep their keys.
    start = {} if _subtracts(context) else {"subtract_start": False}
    return {**_identify_inputs(_make_requests(context)), **options, **start}


def _subtracts(context: Context) -> bool:
    subtracts: bool = context.options.get("subtract_start", True)
    return subtracts


def _identify_each(context: Context, name: str) -> Mapping[str, Any]:
    """Identify the random start that is subtracted from an expert's ``a``, if any, and its ridge."""
    seed = find_own_seed(context.stack, name) if _subtracts(context) else None
    ridge = context.options["ridge"]
    if ridge is None:
        ridge = WHOLE_RIDGE if seed is None else LEARNED_RIDGE
    return {"ridge": ridge, **({} if seed is None else {"start": seed})}


def _identify_inputs(requests: GenericRequests) -> dict[str, Any]:
    """Identify requests and sampled tokens; earlier versions measured all tokens, and had no key for that."""
    most = _choose_most(requests)
    return {**requests.identity, **({} if most is None else {"tokens": most})}


def _identify_general(stack: ExpertStack) -> dict[str, Any]:
    """Identify the general expert that is active while requests are read; facts' keys have it anyway."""
    return {} if stack.general is None else {"general": stack.general.weights}


def _choose_most(requests: GenericRequests) -> int | None:
    """Return how many tokens of a request are measured besides its last one; None for all."""
    given = requests.num_given_tokens
    return MOST_TOKENS if given is None or given > FEW_TOKENS else None


def _compute(context: Context, names: Sequence[str]) -> dict[str, Artifact]:
    stack, options = context.stack, context.options
    requests = _make_requests(context)
    sequences = requests.sequences(context.on_work)
    ranks = _list_ranks(stack, names)
    groups = _group_layers(stack, _find_layers(stack, ranks.values()))
    sample = TokenSample(list(map(len, sequences)), _choose_most(requests))
    steps = _Steps(context.on_progress, len(groups))
    inputs = find_generic_inputs(
        stack,
        list(groups),
        sequences,
        sample,
        _identify_inputs(requests) | _identify_general(stack),
        context.base.fingerprint,
        steps.read,
    )
    where = _find_rows(stack, names)
    ridges = torch.tensor([_identify_each(context, name)["ridge"] for name in names], dtype=torch.float64)
    learned = list(subtract_starts(stack, names if _subtracts(context) else []).values())
    found = {}
    for done, (leader, paths) in enumerate(groups.items(), 1):
        x = inputs[leader].difference(stack.layers[leader].a.device)
        for path in paths:
            layer = stack.layers[path]
            found[path] = calibrate_layer(
                put_learned(layer.a[where], path, learned),
                compute_norm_roots(layer.b[where]),
                x,
                inputs[leader].center,
                sample,
                ridges,
                options["last_share"],
            )
        steps.measure(done)
    return _pack(found, ranks)


def _list_ranks(stack: ExpertStack, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return each expert's ranks by module path, without sub-layers of mixtures."""
    known = CarriedExperts(stack)
    found = {}
    for name in names:
        shapes = known.find_shapes(name)
        found[name] = {path: rank for path, (rank, _) in shapes.items() if not is_sub_layer(path)}
        if not found[name]:
            raise ValueError(
                f"calibrations are measured at layers that see every token, but expert {name!r} changes only "
                "sub-layers of mixtures of experts: use a router without calibrations, such as 'arrow', or "
                "name experts"
            )
    return found


def _find_rows(stack: ExpertStack, names: Sequence[str]) -> slice | Tensor:
    """Return the experts' places in the stacks; a slice, which copies nothing, if they are adjacent."""
    places = [stack.index(name) for name in names]
    is_adjacent = places == list(range(places[0], places[0] + len(places)))
    return slice(places[0], places[-1] + 1) if is_adjacent else torch.tensor(places)


def _group_layers(stack: ExpertStack, paths: Collection[str]) -> dict[str, list[str]]:
    """Return the first layer of each group that receives the same input -> the group's layers in question."""
    groups = [[path for path in group if path in paths] for group in group_same_inputs(stack)]
    return {group[0]: group for group in groups if group}


class _Steps:
    """Progress of reading requests and measuring layers, as steps of one work: half of them each.

    Args:
        report: called with the number of steps done and of all steps; None for no reports.
        num_groups: number of groups of layers.
    """

    def __init__(self, report: Callable[[int, int], None] | None, num_groups: int):
        self._report, self._num_groups, self._total = report, num_groups, num_groups

    def read(self, done: int, total: int) -> None:
        """Report that passes were read."""
        self._total = 2 * self._num_groups
        if self._report is not None:
            self._report(self._num_groups * done // total, self._total)

    def measure(self, done: int) -> None:
        """Report that groups of layers were measured."""
        if self._report is not None:
            self._report(self._total - self._num_groups + done, self._total)


def _find_layers(stack: ExpertStack, ranks: Iterable[Mapping[str, int]]) -> list[str]:
    """Find the layers at which experts are calibrated: those that read the tokens of requests."""
    paths = sorted({path for own in ranks for path in own})
    if is_encoder_decoder(stack.model):
        reading = find_reading_layers(stack.model)
        paths = [path for path in paths if path in reading]
    if not paths:
        raise ValueError(
            "the calibrated router needs experts that change layers of the encoder, or keys and values of "
            "cross-attention, found none: use another router, such as 'arrow'"
        )
    return paths


def _pack(
    found: Mapping[str, LayerCalibration], ranks: Mapping[str, Mapping[str, int]]
) -> dict[str, Artifact]:
    """Join each expert's numbers of all layers: a file with a tensor per layer is read far slower.

    Layers that read no tokens of requests have zeros; where an expert has zeros, no reaction counts.
    """
    alike: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for index, own in enumerate(ranks.values()):
        alike[tuple(own.items())].append(index)
    names = list(ranks)
    packed: dict[str, Artifact] = {}
    for layout, rows in alike.items():
        parts = [_take_rows(found.get(path), rows, rank) for path, rank in layout]
        whiteners, offsets, levels = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        stored_layout = write_layout(dict(layout))
        for row, index in enumerate(rows):
            packed[names[index]] = {
                STORED_WHITENERS: whiteners[row],
                "offsets": offsets[row],
                "levels": levels[row],
                "layout": stored_layout,
            }
    return {name: packed[name] for name in names}


def _take_rows(
    found: LayerCalibration | None, rows: Sequence[int], rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return N experts' whiteners ``[N, R²]``, offsets ``[N, R]`` and levels ``[N, 1, 2]`` of a layer."""
    count = len(rows)
    if found is None:
        return torch.zeros(count, rank**2), torch.zeros(count, rank), torch.zeros(count, 1, 2)
    levels = torch.stack([found.means, found.deviations], 1)[rows, None]
    whiteners, offsets = found.whiteners[rows, :rank, :rank], found.offsets[rows, :rank]
    return whiteners.flatten(1).cpu(), offsets.cpu(), levels.cpu()


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
    identify_each=_identify_each,
    check=lambda context: partial(are_sound_calibrations, CarriedExperts(context.stack)),
    unpack=_unpack,
)
