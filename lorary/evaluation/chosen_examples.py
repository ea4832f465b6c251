"""Choosing and tokenising the examples of a task that an evaluation measures."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from lorary.data import Example, Task, Template, subsample, tokenize_examples
from lorary.data.content import hash_input
from lorary.data.tokens import TokenizedExamples
from lorary.errors import DataError
from lorary.evaluation.config import EvalConfig
from lorary.files import quote, say_count

ID_DIGITS = 16


class ChosenExamples(NamedTuple):
    """Examples and their tokens, in the same order."""

    examples: tuple[Example, ...]
    tokens: TokenizedExamples


def choose_examples(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    task: Task,
    template: Template,
    config: EvalConfig,
    *,
    is_encoder_decoder: bool = False,
) -> ChosenExamples:
    """Choose a task's examples by the configuration, and tokenise those that fit.

    Args:
        tokenizer: the base model's.
        name: the task's name in this evaluation, for messages.
        task: the task.
        template: turns examples into prompts.
        config: has the split, the number of examples, and their maximum length.
        is_encoder_decoder: whether the base model has an encoder, see ``BaseModel.is_encoder_decoder``.

    Raises:
        DataError: if the task has no example in the split, or none that fits.
    """
    examples: Sequence[Example] = task.split(config.split)
    if config.num_examples is not None:
        examples = subsample(examples, config.num_examples, config.seed)
    found = tokenize_examples(
        tokenizer,
        template,
        task,
        examples,
        max_length=config.max_length,
        truncation=config.truncation,
        is_encoder_decoder=is_encoder_decoder,
    )
    if not found.examples:
        raise DataError(
            f"task {quote(name)} must have a {config.split!r} example of at most "
            f"{say_count(config.max_length, 'token')}, "
            f"none of {len(examples)} fits: raise max_length, or choose another truncation"
        )
    return ChosenExamples(tuple(examples[index] for index in found.indices), found)


def identify_examples(examples: Sequence[Example]) -> list[str]:
    """Return an id of each example of a task: a hash of its prompt and its answers.

    So an example has the same id in all results, independently of the order of a file and of the other chosen
    examples. Equal examples get a number, such as ``…-2`` for the second.
    """
    seen: Counter[str] = Counter()
    ids = []
    for example in examples:
        content = [hash_input(example), example.definition, example.targets, example.choices]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:ID_DIGITS]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids
