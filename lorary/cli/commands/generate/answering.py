"""Answer prompts in batches, and log the answers as lines of JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lorary.assembly import Explanation, RoutedModel
from lorary.cli.skill_options import choose_task, is_for_task
from lorary.data.encoding import encode_answers
from lorary.files import append_line, dump_json, quote


def answer_prompts(
    model: RoutedModel, prompts: Sequence[Sequence[int]], options: Namespace, first: int = 0
) -> list[str]:
    """Generate the continuations of prompts, given as token ids, as one batch.

    Args:
        model: the model.
        prompts: the prompts of the batch.
        options: of the command.
        first: number of prompts in earlier batches, so that equal prompts in different batches get different
            samples.
    """
    # With a weight, since the name "auto" alone is the router.
    choices: Any = "auto" if options.expert is None else {options.expert: 1.0}
    if is_for_task(options):
        choices = [choose_task(model, prompt, options) for prompt in prompts]
    answers = model.generate(
        prompts,
        experts=choices,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=None if options.seed is None else options.seed + first,
    )
    return list(answers)


def explain_answer(model: RoutedModel, prompt_ids: Sequence[int], answer: str) -> Explanation:
    """Find the experts of each token of a prompt and its answer."""
    (answer_ids,) = encode_answers(model.tokenizer, [answer])
    return model.explain([*prompt_ids, *answer_ids], num_prompt_tokens=len(prompt_ids))


def split_batches(count: int, size: int) -> Iterator[range]:
    """Split numbers from 0 to ``count`` into batches."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def log_answer(path: Path, record: dict[str, Any]) -> None:
    """Append a record to a log, as one line of JSON.

    Raises:
        OSError: if the file cannot be written; earlier lines are kept.
    """
    append_line(path, dump_json(record, indent=None))


def check_log(path: Path | None) -> None:
    """Refuse a log that is not a file, before anything is answered.

    Raises:
        ValueError: if a folder has its name.
    """
    if path is not None and path.is_dir():
        raise ValueError(f"--log must be a file, found the folder {quote(str(path))}")
