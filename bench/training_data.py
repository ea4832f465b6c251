"""The training data of both sides of the comparison: the same tokenised examples."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lorary.data import SplitConfig, Task, TokenizedExample, find_template, read_task
from lorary.data.synthetic import SYNTHETIC_TASKS, generate_tasks
from lorary.training import TrainingExamples, prepare_examples

LONGEST = 512
NUM_EXAMPLES = 200


def fixed_examples(tokenizer: PreTrainedTokenizerBase, num_experts: int) -> dict[str, TrainingExamples]:
    """Make examples of about 64 tokens: generated tasks, with solved examples before the question."""
    return _generated(tokenizer, num_experts, lambda chance: 64)


def mixed_examples(
    tokenizer: PreTrainedTokenizerBase, num_experts: int, data: Path | None
) -> dict[str, TrainingExamples]:
    """Make examples of mixed lengths.

    Args:
        tokenizer: the base model's.
        num_experts: how many tasks.
        data: a folder whose MANIFEST.json lists task files under ``experts``; None takes generated tasks,
            with 24 to 384 tokens, more often few than many.
    """
    if data is None:
        return _generated(tokenizer, num_experts, lambda chance: int(24 * 16 ** chance.random()))
    tasks = _read_tasks(data, num_experts)
    return prepare_examples(tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip")


def _read_tasks(data: Path, num_experts: int) -> dict[str, Task]:
    files = [entry["file"] for entry in json.loads((data / "MANIFEST.json").read_text())["experts"]]
    # Spread over the list, which is sorted by kind.
    chosen = files[:: max(1, len(files) // num_experts)][:num_experts]
    return {
        f"{index:02d}": read_task(data / file, splits=SplitConfig(max_train=NUM_EXAMPLES))
        for index, file in enumerate(chosen)
    }


def _generated(
    tokenizer: PreTrainedTokenizerBase, num_experts: int, draw_length: Callable[[random.Random], int]
) -> dict[str, TrainingExamples]:
    tasks = generate_tasks(list(SYNTHETIC_TASKS)[:num_experts], train=NUM_EXAMPLES, validation=0, test=0)
    prepared = prepare_examples(tokenizer, tasks, find_template("plain"), max_length=LONGEST)
    return {
        name: TrainingExamples(train=_lengthen(found.train, draw_length, random.Random(name)))
        for name, found in prepared.items()
    }


def _lengthen(
    examples: Sequence[TokenizedExample], draw_length: Callable[[random.Random], int], chance: random.Random
) -> tuple[TokenizedExample, ...]:
    """Put solved examples before each, as many as bring it near a drawn length."""
    longer = []
    for example in examples:
        length, prompt = draw_length(chance), example.prompt_ids
        while len(prompt) + len(example.target_ids) < length:
            solved = chance.choice(examples)
            prompt = solved.prompt_ids + solved.target_ids + prompt
        # The beginning of texts that are too long is removed.
        longer.append(
            TokenizedExample(
                prompt[-max(len(example.prompt_ids), length - len(example.target_ids)) :], example.target_ids
            )
        )
    return tuple(longer)
