"""Trained gates, taken from a library's artifacts where they are stored already.

N experts in question, I layer input.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lorary.experts import Expert
from lorary.facts.carrier import Carrier
from lorary.facts.task_rows import Compute, find_task_rows

ALGORITHM = "phatgoose-gates-1"


def find_gates(
    model: Carrier,
    experts: Mapping[str, Expert],
    digests: Mapping[str, str],
    parameters: Mapping[str, Any],
    train: Compute,
) -> dict[str, Tensor]:
    """Give each expert's PhatGOOSE gates; a ``Library`` keeps them, and only those it lacks are trained.

    Args:
        model: carries the experts.
        experts: where they were loaded from.
        digests: expert -> hash of the data that its gates are trained on.
        parameters: how they are trained, ``asdict`` of a ``GateConfig``.
        train: names of experts -> gates, as ``train_gates`` gives them; called once, for all that
            are missing.

    Returns:
        Module path -> gates ``[N, I]``, rows in the order of ``digests``; hand them over with
        ``provide(gates=…)``.

    Raises:
        UnknownExpert, LibraryError: as ``find_task_rows``.
    """
    with model.stack.in_use():
        return find_task_rows(model, experts, ALGORITHM, parameters, digests, train)
