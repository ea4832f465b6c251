"""The examples of a task that an evaluation looks at, as tokens."""

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
from lorary.files import quote

ID_DIGITS = 16


class ChosenExamples(NamedTuple):
    """Examples and their tokens, in the same order."""

    examples: tuple[Example, ...]
    tokens: TokenizedExamples


def choose_examples(
    tokenizer: PreTrainedTokenizerBase, name: str, task: Task, template: Template, config: EvalConfig
) -> ChosenExamples:
    """Choose a task's examples as the configuration says, and tokenise those that fit.

    Args:
        tokenizer: the base model's.
        name: what the task is called here; errors name it.
        task: where the examples are from.
        template: how they become prompts.
        config: the split, how many, and how long they may be.

    Raises:
        DataError: if the task has no example in the split, or none that fits.
    """
    examples: Sequence[Example] = task.split(config.split)
    if config.num_examples is not None:
        examples = subsample(examples, config.num_examples, config.seed)
    found = tokenize_examples(
        tokenizer, template, task, examples, max_length=config.max_length, truncation=config.truncation
    )
    if not found.examples:
        raise DataError(
            f"task {quote(name)}: none of {len(examples)} {config.split!r} examples fits in "
            f"{config.max_length} tokens: raise max_length, or choose another truncation"
        )
    return ChosenExamples(tuple(examples[index] for index in found.indices), found)


def identify_examples(examples: Sequence[Example]) -> list[str]:
    """Name each example of a task by a hash of what it asks and of its answers.

    So results name the same example alike, whatever the order of a file and whichever examples were chosen.
    Examples that are equal are told apart by a number, ``…-2`` for the second.
    """
    seen: Counter[str] = Counter()
    ids = []
    for example in examples:
        content = [hash_input(example), example.definition, example.targets, example.choices]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:ID_DIGITS]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids
