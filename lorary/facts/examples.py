"""The examples of an expert's task that a fact is computed from."""

from collections.abc import Sequence
from hashlib import sha256

from lorary.data import TokenizedExample
from lorary.facts.fact import Context
from lorary.training import TrainingExamples

NUM_TEXTS = 20
"""Number of examples of each task; more of them change means and nearest neighbours little."""


def choose_examples(context: Context, name: str) -> Sequence[TokenizedExample]:
    """Return the first training examples of an expert's task: ``options["num_texts"]``, else ``NUM_TEXTS``.

    Raises:
        ValueError: if the expert has none.
    """
    if name not in context.examples:
        raise ValueError(f"expert {name!r} has no examples of its own task: pass examples for every expert")
    return context.examples[name].train[: context.options.get("num_texts", NUM_TEXTS)]


def wrap_texts(texts: Sequence[Sequence[int]]) -> TrainingExamples:
    """Turn texts, given as token ids, into examples without answers."""
    return TrainingExamples(train=tuple(TokenizedExample(tuple(ids), ()) for ids in texts))


def hash_tokens(texts: Sequence[Sequence[int]]) -> str:
    """Return the hash of texts, given as token ids."""
    return sha256(str([list(ids) for ids in texts]).encode()).hexdigest()
