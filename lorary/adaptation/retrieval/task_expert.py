"""The new task's own expert, for methods that compare its weights with those of the experts."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lorary.adaptation.follow import follow_experts
from lorary.adaptation.retrieval.contract import RetrievalContext
from lorary.experts import Expert
from lorary.library.general import take_general
from lorary.models.fit_paths import fit_paths
from lorary.training import TrainConfig, train_experts

_UNIT = "new-task"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The experts and the new task's expert, side by side."""

    experts: Mapping[str, Expert]
    """The experts by their names, and the new task's expert under a separate name."""
    names: list[str]
    """The new task's expert first, then the others in their order."""
    num_tokens: int
    """Tokens that the new task's expert was trained on here."""


def compare_with_task(context: RetrievalContext, names: Sequence[str]) -> Compared:
    """Return the experts beside the new task's expert.

    If none is given, one is trained briefly, with the experts' rank and layers, and from the same
    initial factors if all experts share them. Like the experts, it is trained on top of their general expert.
    """
    experts = dict(fit_paths(context.base.model, {name: context.experts[name] for name in names}))
    found, num_tokens = context.task_expert, 0
    if found is None:
        config = _follow(list(experts.values()), context.quick)
        with tempfile.TemporaryDirectory() as folder:
            outcome = train_experts(
                context.base,
                {_UNIT: context.examples},
                config,
                folder,
                on_top_of=take_general(context.experts, names),
            )
        found, num_tokens = outcome.experts[_UNIT], outcome.progress[_UNIT].tokens
    own = _UNIT
    while own in experts:
        own += "+"
    return Compared(experts={own: found, **experts}, names=[own, *names], num_tokens=num_tokens)


def _follow(experts: Sequence[Expert], config: TrainConfig) -> TrainConfig:
    """Return the configuration with the experts' rank, layers and initial weights."""
    trainings = [expert.card.provenance.get("training") for expert in experts]
    seeds = [
        training.get("seed") if isinstance(training, Mapping) and training.get("same_start") is True else None
        for training in trainings
    ]
    # A card may come from anywhere, so its seed may be of any type.
    if type(seeds[0]) is int and seeds[0] >= 0 and seeds.count(seeds[0]) == len(seeds):
        config = replace(config, same_start=True, seed=seeds[0])
    return follow_experts(config, experts)
