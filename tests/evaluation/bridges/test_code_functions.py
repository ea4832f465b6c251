import pytest

from lorary.evaluation import EvalConfig, Route
from lorary.evaluation.bridges import HarnessConfig, load_benchmarks, measure_harness
from lorary.evaluation.bridges.code_functions import judge_humaneval, judge_mbpp, pass_at_1, pass_at_k
from lorary.evaluation.responding import Responder
from tests.benchmark_rows import make_rows


def test_answers_are_run_with_the_tests_of_their_rows():
    rows = make_rows()
    answers = [["    return x\n", "    return x + 1\n"], ["    return 1\n"]]
    assert judge_humaneval(answers, rows["humaneval/test"][:2]) == [["passed", "failed"], ["passed"]]
    (row,) = rows["mbpp/test"][:1]
    number = row["task_id"]
    assert judge_mbpp([[f"def f{number}():\n    return {number}", ""]], [row]) == [["passed", "error"]]


def test_a_metric_counts_what_passed():
    outcomes = ["passed", "failed", "error", "time"]
    assert pass_at_k([""], [outcomes], [1, 2]) == pytest.approx({"pass@1": 0.25, "pass@2": 0.5})
    assert pass_at_k([""], [outcomes], 4) == {"pass@4": 1.0}
    assert pass_at_1([""], [outcomes]) == pytest.approx(0.25)


def test_code_benchmarks_are_measured_with_answers_that_are_drawn_several_times(model, data, monkeypatch):
    """The model is replaced by one whose answers are right for every second draw."""
    asked = []

    def answer(self, route, items):
        asked.extend(items)
        found = []
        for item in items:
            row = 0 if item.drawn is None else item.drawn.number
            found.append("    return x\n" if row % 2 == 0 else "    return\n")
        return found

    monkeypatch.setattr(Responder, "answer", answer)
    names = ["humaneval", "humaneval_64", "mbpp"]
    benchmarks, _ = load_benchmarks(names, data, allow_code=True)
    config, harness = EvalConfig(num_examples=1), HarnessConfig(max_length=2000)
    outcome = measure_harness(model, benchmarks, [Route(name="base")], config, harness)
    values = outcome.result.scores
    assert values["humaneval", "base", "pass@1.create_test"] == (1.0,)
    assert values["humaneval_64", "base", "pass@2.create_test"][0] == pytest.approx(1 - 32 * 31 / (64 * 63))
    assert values["mbpp", "base", "pass_at_1"] == (0.0,)
    drawn = [item.drawn for item in asked if item.drawn is not None]
    assert [each.number for each in drawn] == list(range(64))
    assert {(each.temperature, each.top_p) for each in drawn} == {(0.2, 0.95)}
