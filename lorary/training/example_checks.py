"""Checking that a model can read tokenised examples; a kernel would fail without naming the example."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from transformers import PreTrainedModel

from lorary.data.tokens import TokenizedExample
from lorary.files import quote, say_count
from lorary.models.architecture import is_encoder_decoder
from lorary.models.positions import count_positions
from lorary.training.examples import TrainingExamples


def check_training_examples(name: str, examples: TrainingExamples, model: PreTrainedModel) -> None:
    """Check that an expert can be trained on some examples.

    Args:
        name: the expert's name, for messages.
        examples: its examples.
        model: the base model, with or without experts.

    Raises:
        TypeError: if they are not ``TrainingExamples``.
        ValueError: if there is no training example, or the model cannot read one.
    """
    if not isinstance(examples, TrainingExamples):
        raise TypeError(f"expert {quote(name)} must have TrainingExamples, found {quote(examples, 60)}")
    if not examples.train:
        raise ValueError(f"expert {name!r} must have at least one training example, found none")
    check_examples(f"expert {name!r}", examples.train, model)
    check_examples(f"expert {name!r}, validation", examples.validation, model)


def check_examples(whose: str, examples: Sequence[TokenizedExample], model: PreTrainedModel) -> None:
    """Check that a model can read some examples.

    Args:
        whose: name of the examples' owner, for the message.
        examples: the examples.
        model: the model.

    Raises:
        ValueError: if it cannot; the message has the first such example and its fault.
    """
    size = model.get_input_embeddings().weight.shape[0]
    most = count_positions(model)
    for index, example in enumerate(examples):
        fault = _find_fault(example, size, most, count_needed(model, example))
        if fault:
            raise ValueError(f"{whose}, example {index}: {fault}")


def count_needed(model: PreTrainedModel, example: TokenizedExample) -> int:
    """Count the positions of an example's longest row; encoder and decoder have separate rows."""
    if is_encoder_decoder(model):
        return max(len(example.prompt_ids), len(example.target_ids))
    return len(example)


def _find_fault(example: TokenizedExample, size: int, most: int | None, needed: int) -> str | None:
    prompt, target = example.prompt_ids, example.target_ids
    if not prompt or not target:
        return (
            f"it must have a prompt and a target, found {len(prompt)} and {say_count(len(target), 'token')}"
        )
    kinds = {type(token) for token in (*prompt, *target)}
    wrong: list[Any] = [kind.__name__ for kind in kinds if not issubclass(kind, Integral) or kind is bool]
    if not wrong:
        wrong = [token for token in (min(*prompt, *target), max(*prompt, *target)) if not 0 <= token < size]
    if wrong:
        return (
            f"token ids must be whole numbers from 0 to {size - 1}, found {quote(wrong[0], 60)}: tokenise it "
            "with the base model's tokenizer"
        )
    if most is not None and needed > most:
        return (
            f"it must fit in the base model's {say_count(most, 'position')}, found "
            f"{say_count(needed, 'token')}: shorten it"
        )
    return None
