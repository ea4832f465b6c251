"""Functions of code benchmarks that replace the harness's own, which execute code in this process.

The harness's modules of HumanEval and MBPP call ``evaluate.load`` when they are imported, which asks the
network for a script. Here a filter runs all programs in the sandbox, and metrics count what passed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lorary.evaluation.sandbox import Program, check_programs, humaneval_program, mbpp_program
from lorary.evaluation.sandbox import pass_at_k as estimate_pass_at_k

# The three examples of the harness's prompt, from those in the prompts of MBPP's authors.
MBPP_EXAMPLES = (2, 3, 4)
PASSED = "passed"

Rows = Sequence[Mapping[str, Any]]


def judge_humaneval(resps: Sequence[Sequence[str]], docs: Rows) -> list[list[str]]:
    """Run the answers to HumanEval's problems with their tests; returns the outcome of each."""
    return _judge(resps, docs, humaneval_program)


def judge_mbpp(resps: Sequence[Sequence[str]], docs: Rows) -> list[list[str]]:
    """Run the answers to MBPP's problems with their tests; returns the outcome of each."""
    return _judge(resps, docs, mbpp_program)


def pass_at_k(
    references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] | int
) -> dict[str, float]:
    """Estimate the probability that one of k answers to a problem passes, from the outcomes of all answers.

    Args:
        references: not used: the outcomes are known.
        predictions: the outcomes of one problem.
        k: numbers of answers.
    """
    (outcomes,) = predictions
    passed = sum(outcome == PASSED for outcome in outcomes)
    numbers = [k] if isinstance(k, int) else k
    # The estimate may be -0.
    return {f"pass@{number}": abs(estimate_pass_at_k(len(outcomes), passed, number)) for number in numbers}


def pass_at_1(references: Sequence[str], predictions: Sequence[Sequence[str]]) -> float:
    """Return the share of a problem's answers that passed, as MBPP's metric in the harness."""
    return pass_at_k(references, predictions, 1)["pass@1"]


def choose_mbpp_examples(dataset: Any) -> Any:
    """Choose the examples of MBPP's prompt."""
    chosen = dataset.filter(lambda row: row["task_id"] in MBPP_EXAMPLES)
    return chosen.map(lambda row: {**row, "is_fewshot": True})


def _judge(
    resps: Sequence[Sequence[str]], docs: Rows, write: Callable[[Mapping[str, Any], str], Program]
) -> list[list[str]]:
    programs = [write(doc, text) for texts, doc in zip(resps, docs, strict=True) for text in texts]
    # Permission was checked when the code task was loaded.
    verdicts = iter(check_programs(programs, allow_code=True))
    return [[next(verdicts).outcome for _ in texts] for texts in resps]


PROGRAMS: dict[str, Callable[[Mapping[str, Any], str], Program]] = {
    "humaneval": humaneval_program,
    "humaneval_64": humaneval_program,
    "mbpp": mbpp_program,
}
"""Task -> what makes a program of a row and an answer."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "judge_humaneval": judge_humaneval,
    "judge_mbpp": judge_mbpp,
    "pass_at_k": pass_at_k,
    "pass_at_1": pass_at_1,
    "choose_mbpp_examples": choose_mbpp_examples,
}
"""The functions that task files name."""
