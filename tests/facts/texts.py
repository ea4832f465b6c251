"""Texts as examples of experts' tasks."""

from lorary.data import TokenizedExample
from lorary.training import TrainingExamples


def take_for_examples(texts):
    """Make training examples without answers of texts: expert -> token ids of each."""
    return {
        name: TrainingExamples(train=tuple(TokenizedExample(tuple(ids), ()) for ids in own))
        for name, own in texts.items()
    }
