"""Examples of experts' tasks, as facts take them from their context."""

from collections.abc import Sequence
from hashlib import sha256

from lorary.data import TokenizedExample
from lorary.facts.fact import Context
from lorary.training import TrainingExamples

NUM_TEXTS = 20
"""Of each task; more change means and nearest neighbours little."""


def choose_examples(context: Context, name: str) -> Sequence[TokenizedExample]:
    """Give the examples of an expert's task that are read: the first few, or so many as ``num_texts`` says.

    Raises:
        ValueError: if the expert has none.
    """
    if name not in context.examples:
        raise ValueError(f"expert {name!r} has no examples of its own task: give some for every expert")
    return context.examples[name].train[: context.options.get("num_texts", NUM_TEXTS)]


def wrap_texts(texts: Sequence[Sequence[int]]) -> TrainingExamples:
    """Take texts without answers, as token ids, for examples."""
    return TrainingExamples(train=tuple(TokenizedExample(tuple(ids), ()) for ids in texts))


def hash_tokens(texts: Sequence[Sequence[int]]) -> str:
    """Return the hash of texts, given as token ids."""
    return sha256(str([list(ids) for ids in texts]).encode()).hexdigest()
