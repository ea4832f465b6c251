"""Functions of code benchmarks that replace the harness's own, which execute code in this process.

The harness's modules of HumanEval and MBPP call ``evaluate.load`` when they are imported, which asks the
network for a script. These functions have the names and results of the harness's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lorary.errors import DataError

# The three examples of the harness's prompt, of those that the authors of MBPP wrote prompts with.
MBPP_EXAMPLES = (2, 3, 4)


def pass_at_k(
    references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] | int
) -> dict[str, float]:
    """Estimate the chance that one of k samples passes the tests.

    Args:
        references: the tests of one problem, as a program.
        predictions: the samples of that problem.
        k: numbers of samples.
    """
    numbers = [k] if isinstance(k, int) else list(k)
    return {f"pass@{number}": value for number, value in _run(references, predictions, numbers).items()}


def pass_at_1(references: Sequence[str] | str, predictions: Sequence[Any]) -> float:
    """Estimate the chance that a sample passes, as MBPP's metric in the harness."""
    tests = [references] if isinstance(references, str) else list(references)
    samples = [[each] if isinstance(each, str) else list(each) for each in predictions]
    return _run(tests, samples, [1])[1]


def complete_prompts(resps: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Join each answer with the beginning of the program that it continues."""
    return [[doc["prompt"] + text for text in texts] for texts, doc in zip(resps, docs, strict=True)]


def choose_mbpp_examples(dataset: Any) -> Any:
    """Choose the examples of MBPP's prompt."""
    chosen = dataset.filter(lambda row: row["task_id"] in MBPP_EXAMPLES)
    return chosen.map(lambda row: {**row, "is_fewshot": True})


def _run(tests: Sequence[str], samples: Sequence[Sequence[str]], k: Sequence[int]) -> dict[int, float]:
    """Run the samples of a problem in the sandbox, and estimate pass@k for each k."""
    raise DataError("this version of lorary has no sandbox for generated programs: leave out code tasks")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "pass_at_k": pass_at_k,
    "pass_at_1": pass_at_1,
    "complete_prompts": complete_prompts,
    "choose_mbpp_examples": choose_mbpp_examples,
}
"""The functions that task files name."""
