"""Trained gates: PhatGOOSE's vector of each expert at each layer.

N experts of a call, I layer input.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from lorary.experts import Expert
from lorary.facts.carrier import Carrier
from lorary.facts.fact import Context, Fact, Source
from lorary.facts.finding import find_rows
from lorary.facts.rows import pack_rows
from lorary.facts.soundness import Artifact
from lorary.training import GateConfig, TrainingExamples, train_gates

ALGORITHM = "phatgoose-gates-1"


def find_gates(
    model: Carrier,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: GateConfig | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, Tensor]:
    """Return each expert's PhatGOOSE gates; missing ones are trained. A ``Library`` stores them.

    Args:
        model: a model with the experts attached.
        experts: the mapping that they were loaded from.
        examples: expert -> examples of its own task.
        config: how they are trained; None for the defaults.
        on_progress: called after each step with the number of finished steps and of all steps.

    Returns:
        Module path -> gates ``[N, I]``, rows in the order of ``examples``; pass them to ``provide(gates=…)``.

    Raises:
        ValueError, TrainingError: as ``train_gates``.
        UnknownExpert, LibraryError: as ``find_artifacts``.
    """
    context = Context(
        base=model.base,
        stack=model.stack,
        experts=experts,
        options={} if config is None else asdict(config),
        examples=examples,
        on_progress=on_progress,
    )
    with model.stack.in_use():
        return find_rows(GATES, context, list(examples))["gates"]


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
    advice="train them with lorary.facts.find_gates",
    compute=_compute,
    algorithm=ALGORITHM,
    identify=_identify,
    digest=lambda context, name: context.examples[name].digest,
)
