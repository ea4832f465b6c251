"""Facts that are computed from examples of the experts' tasks."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor

from lorary.experts import Expert
from lorary.facts.carrier import Carrier
from lorary.facts.fact import Context
from lorary.facts.finding import find_rows
from lorary.facts.table import FACTS
from lorary.routing import ROUTERS
from lorary.training import TrainingExamples


def list_task_facts(routers: Collection[str]) -> list[str]:
    """List the facts that these routers need and that need examples of the experts' tasks.

    Args:
        routers: names of routers; other names, such as ``"base"``, are ignored.
    """
    needs = {fact for router in routers if router in ROUTERS for fact in ROUTERS[router].config().needs}
    return [name for name, fact in FACTS.items() if name in needs and fact.needs_tasks]


def find_task_facts(
    model: Carrier,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    facts: Collection[str],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Mapping[str, Tensor]]:
    """Return facts that need examples of the experts' tasks; missing ones are computed.

    A ``Library`` stores them.

    Args:
        model: a model with the experts attached.
        experts: the mapping that they were loaded from.
        examples: expert -> training examples of its own task.
        facts: names of the facts.
        options: fact -> its options: the fields of a ``GateConfig`` for ``"gates"``, ``num_texts`` and
            ``tokens_per_pass`` for ``"means"`` and ``"embeddings"``; missing options have their defaults.
        on_progress: called with the number of finished steps and of all steps, by facts that take long; with
            0 of 0 when any fact is computed.

    Returns:
        Fact -> its rows, in the order of ``examples``, as ``RoutedModel.provide`` takes them.

    Raises:
        ValueError: if an expert has no examples, or an option is invalid.
        UnknownExpert: if an expert is not on the model, or not in the library.
        LibraryError: if an expert in the library is not the one that was loaded, or the library cannot be
            written.
    """
    found: dict[str, Mapping[str, Tensor]] = {}
    for name in facts:
        context = Context(
            base=model.base,
            stack=model.stack,
            experts=experts,
            options=(options or {}).get(name, {}),
            examples=examples,
            on_progress=on_progress,
        )
        with model.stack.in_use():
            found[name] = find_rows(FACTS[name], context, list(examples))[name]
    return found
