"""The examples of an expert's task that a fact is computed from."""

from collections.abc import Sequence
from hashlib import sha256

from lorary.data import TokenizedExample
from lorary.facts.fact import Context

NUM_TEXTS = 20
"""Number of examples of each task; more of them change means and nearest neighbours little."""


def choose_examples(context: Context, name: str) -> Sequence[TokenizedExample]:
    """Return the first training examples of an expert's task: ``options["num_texts"]``, else ``NUM_TEXTS``.

    Raises:
        ValueError: if the expert has none, or one has no prompt.
    """
    examples = context.examples[name].train if name in context.examples else ()
    if not examples or not all(example.prompt_ids for example in examples):
        raise ValueError(
            f"expert {name!r} needs at least one example of its own task, with a prompt of at least one "
            "token each: pass examples for every expert"
        )
    return examples[: context.options.get("num_texts", NUM_TEXTS)]


def hash_tokens(texts: Sequence[Sequence[int]]) -> str:
    """Return the hash of texts, given as token ids."""
    return sha256(str([list(ids) for ids in texts]).encode()).hexdigest()
