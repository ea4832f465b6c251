"""Trained gates: PhatGOOSE's vector of each expert at each layer.

N experts of a call, I layer input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lorary.facts.fact import Context, Fact, Source
from lorary.facts.rows import pack_rows
from lorary.facts.soundness import Artifact
from lorary.training import GateConfig
from lorary.training.objectives.gates import train_gates

ALGORITHM = "phatgoose-gates-1"


def _identify(context: Context) -> dict[str, Any]:
    return asdict(GateConfig(**context.options))


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    config, report = GateConfig(**context.options), context.on_progress
    gates = train_gates(
        context.stack,
        {name: context.examples[name] for name in names},
        config,
        on_step=None if report is None else lambda step, losses: report(step, config.num_steps),
    )
    return pack_rows(gates, names)


GATES = Fact(
    name="gates",
    source=Source.TRAINING,
    compute=_compute,
    algorithm=ALGORITHM,
    identify=_identify,
    digest=lambda context, name: context.examples[name].digest,
)
