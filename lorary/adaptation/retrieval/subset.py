"""Choosing a subset of a library for a new task."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.adaptation.retrieval.contract import RetrievalContext
from lorary.adaptation.retrieval.table import RETRIEVALS, choose_retrieval
from lorary.errors import DataError, UnknownExpert, suggest
from lorary.experts.routed import list_routed
from lorary.files import quote, say_count
from lorary.models.parts.changed import keep_low_rank_on

ACTION = "retrieval"
"""The action that needs low-rank factors, for messages."""


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """The experts that fit a new task best, by one method."""

    scores: tuple[tuple[str, float], ...]
    """Experts with their scores, the best first."""
    num_tokens: int
    """Tokens that the base model read or was trained on to find them, without those for facts that
    a library stores."""

    @property
    def names(self) -> list[str]:
        """The experts, the best first."""
        return [name for name, _ in self.scores]


def retrieve(
    context: RetrievalContext,
    names: Sequence[str] | None = None,
    num: int | None = None,
    by: str | None = None,
    seed: int = 0,
) -> Retrieved:
    """Choose the experts that fit a new task best.

    Args:
        context: the new task, the base model and the experts.
        names: the experts to choose from; None for those that ``list_routed`` lists, without those that have
            more than low-rank factors.
        num: number of experts to choose; None to sort them all.
        by: a key of ``RETRIEVALS``; None for ``"calibrated"``, and ``"embedding"`` on a base model with an
            encoder.
        seed: of ``"random"``.

    Returns:
        The experts and their scores, the best first; equal scores in the order of names.

    Raises:
        ValueError: if there is no such method, ``num`` is not from 1 to the number of experts, or a required
            input of the method is missing.
        UnknownExpert: if there is no expert of a name.
        DataError: if the new task has no examples.
        IncompatibleExpert: if experts do not fit the base model, or it has experts attached.
    """
    if by is None:
        by = choose_retrieval(context.base.is_encoder_decoder, context.router_options)
    if names is None:
        names = keep_low_rank_on(context.base.model, context.experts, list_routed(context.experts), ACTION)
    chosen = list(names)
    faults = []
    if by not in RETRIEVALS:
        faults.append(f"no retrieval is named {quote(by)}: {suggest(str(by)[:200], RETRIEVALS)}")
    if not chosen:
        faults.append("there must be at least one expert to retrieve, found none")
    elif num is not None and (type(num) is not int or not 1 <= num <= len(chosen)):
        faults.append(
            f"the number of experts to retrieve must be from 1 to {len(chosen)} (all that there "
            f"are), found {quote(num)}"
        )
    if len(set(chosen)) < len(chosen):
        faults.append("every expert must be named once")
    if faults:
        raise ValueError("; ".join(faults))
    for name in chosen:
        if name not in context.experts:
            raise UnknownExpert(name, context.experts, "the library")
    if not context.examples.train:
        raise DataError(
            f"task {quote(context.task)} must have at least one training example to retrieve experts for it, "
            f"found {say_count(0, 'example')}"
        )
    found = RETRIEVALS[by].score(context, chosen, seed)
    pairs = sorted(zip(chosen, found.values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return Retrieved(scores=tuple(pairs[:num]), num_tokens=found.num_tokens)
