import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model
from lorary.cli.comparison import measure as command
from lorary.cli.comparison.material import find_task_of_each
from lorary.cli.comparison.routes import choose_routes
from lorary.data import find_template
from lorary.data.synthetic import generate_task, generate_tasks
from lorary.evaluation import EvalConfig, Result, evaluate, make_routes
from lorary.library import Library
from lorary.models import load_base

TASKS = ("--tasks", "generated:plurals", "generated:prices")
FEW = ("--evaluation.num_examples", "3")


@pytest.fixture
def measure(lorary, trained_library):
    """Evaluates on few examples of two generated tasks."""
    return lambda *words: lorary("eval", trained_library, *TASKS, *FEW, *words)


@pytest.fixture
def controls(tmp_path, trained_library):
    """A library with one control."""
    library = Library.open(str(tmp_path / "controls"), create=True)
    library.add(Library.open(trained_library)["past_tense"].rename("multi-task"))
    return library.url


def test_numbers_are_those_of_evaluate(measure, trained_library, tiny_base, tmp_path):
    code, _, _ = measure(
        "--out", str(tmp_path / "out"), "--metrics", "loss,exact_match", "--routes", "base,arrow,oracle"
    )
    assert code == 0
    found = Result.from_json(tmp_path / "out" / "results.json")
    model = load_model(load_base(tiny_base, dtype=torch.float32), trained_library, router=None)
    tasks = generate_tasks(["plurals", "prices"])
    routes = make_routes(["base", "arrow", "oracle"], model, {name: name for name in tasks})
    config = EvalConfig(metrics=("loss", "exact_match"), num_examples=3)
    expected = evaluate(model, tasks, routes, find_template("plain"), config)
    assert set(found.scores) == set(expected.scores)
    for key, values in expected.scores.items():
        assert found.scores[key] == pytest.approx(values, abs=1e-3)


def test_people_see_tables_differences_and_the_next_command(measure, tmp_path):
    code, output, _ = measure("--out", str(tmp_path))
    assert code == 0
    header = next(line for line in output.splitlines() if "base" in line and "oracle" in line)
    assert header.split() == ["base", "random", "uniform", "arrow", "calibrated", "oracle"]
    assert "mean of 2 tasks" in output
    for route in ("base", "random", "arrow", "calibrated", "oracle"):
        assert f"{route} minus uniform" in output
    assert "next: lorary generate" in output
    table = (tmp_path / "table.md").read_text()
    assert "| plurals |" in table
    assert "| arrow minus uniform |" in table


def test_routes_are_shown_in_the_order_asked_for_and_held_against_the_one_named(measure, tmp_path):
    """Guards two bugs: routes were sorted, and differences were shown of Arrow alone."""
    routes = ("--routes", "uniform,base,lag")
    code, output, _ = measure(*routes, "--against", "lag", "--out", str(tmp_path))
    assert code == 0
    header = next(line for line in output.splitlines() if "base" in line and "lag" in line)
    assert header.split() == ["uniform", "base", "lag"]
    table = (tmp_path / "table.md").read_text()
    for text in (output, table):
        assert "uniform minus lag" in text and "base minus lag" in text
        assert "minus uniform" not in text
    summary = json.loads(measure(*routes, "--against", "base", "--json")[1])["loss"]
    assert [found["route"] for found in summary["differences"]] == ["uniform", "lag"]
    assert {found["against"] for found in summary["differences"]} == {"base"}
    assert summary["lower_is_better"] is True


def test_a_measure_of_ones_own_is_in_tables_json_comparison_and_help(measure, lorary, code_measure):
    words = ("--routes", "base,uniform", "--metrics", "pass@1,size")
    code, output, _ = measure(*words)
    assert code == 0
    assert "passed (higher is better)" in output and "characters (lower is better)" in output
    assert "passed: paired differences (above zero is better)" in " ".join(output.split())
    assert "characters: paired differences (below zero is better)" in " ".join(output.split())
    summary = json.loads(measure(*words, "--json")[1])
    assert list(summary) == ["pass@1", "size"]
    for metric, direction in (("pass@1", False), ("size", True)):
        assert summary[metric]["lower_is_better"] is direction
        (difference,) = summary[metric]["differences"]
        means = summary[metric]["mean"]
        expected = means["base"]["mean"] - means["uniform"]["mean"]
        assert difference["mean"] == pytest.approx(expected)
    help_text = " ".join(lorary("eval", "--help-all")[1].split())
    assert "size (length of the answer; lower is better)" in help_text


def test_training_examples_stand_before_prompts_if_asked(measure, tmp_path):
    few, none = tmp_path / "few", tmp_path / "none"
    words = ("--routes", "base", "--metrics", "loss")
    assert measure(*words, "--out", str(none))[0] == 0
    assert measure(*words, "--shots", "2", "--out", str(few))[0] == 0
    results = [Result.from_json(folder / "results.json") for folder in (few, none)]
    assert "shots=2" in (few / "results.json").read_text()
    assert results[0].scores != results[1].scores
    assert results[0].scores.keys() == results[1].scores.keys()


def test_a_base_model_is_measured_without_a_library(lorary, measure, tiny_base, controls, tmp_path):
    words = ("--metrics", "loss,exact_match", "--json")
    alone = ("eval", "--base", tiny_base, *TASKS, *FEW, *words)
    beside = json.loads(measure("--routes", "base", *words)[1])
    assert json.loads(lorary(*alone)[1]) == beside
    code, output, _ = lorary(*alone[:-1], "--out", str(tmp_path / "out"))
    assert code == 0 and "base" in output and "lorary generate" not in output
    assert Result.from_json(tmp_path / "out" / "results.json").routes == ("base",)
    beside = json.loads(measure("--routes", "base,multi-task", "--controls", controls, *words)[1])
    assert json.loads(lorary(*alone, "--controls", controls)[1]) == beside


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "to measure a base model alone, give --base and leave LIBRARY out"),
        (
            ["--base", "b", "--include", "merge"],
            "--include chooses experts of LIBRARY: give LIBRARY, or leave",
        ),
        (
            ["--base", "b", "--routes", "base,arrow,oracle"],
            "found ['arrow', 'oracle']: give LIBRARY, or leave",
        ),
        (["--base", "b", "--routes", "bse"], "there is no route 'bse': did you mean 'base'"),
        (["--base", "b", "--routes", "base,base"], "each once, found ['base', 'base']: correct --routes"),
        (["--base", "b", "--arrow.top_k", "2"], "options of router 'arrow' are given, but it is not used"),
        (
            ["--base", "b", "--against", "arrow"],
            "--against must be one of the compared routes, found 'arrow'",
        ),
    ],
)
def test_what_needs_a_library_is_refused_without_one(lorary, words, message):
    code, _, told = lorary("eval", *TASKS, *words)
    assert code == 2 and message in " ".join(told.split())


def test_routes_may_be_called_router(measure):
    answers = [json.loads(measure("--json", flag, "base,uniform")[1]) for flag in ("--routes", "--router")]
    assert answers[0] == answers[1]


def test_without_a_folder_the_next_command_writes_one(measure, trained_library):
    code, output, _ = measure("--routes", "base")
    assert code == 0
    words = f"{' '.join([*TASKS, *FEW])} --routes base --out results"
    assert output.endswith(f"next: lorary eval {trained_library} {words}\n")


def test_json_is_all_that_stdout_gets(measure):
    code, output, _ = measure("--json", "--routes", "base,uniform")
    found = json.loads(output)["loss"]
    assert code == 0
    assert set(found["tasks"]) == {"plurals", "prices"}
    base = [found["tasks"][task]["base"] for task in ("plurals", "prices")]
    assert [column["examples"] for column in base] == [3, 3]
    assert found["mean"]["base"]["mean"] == pytest.approx(sum(column["mean"] for column in base) / 2)


def test_controls_are_routes_of_their_own(measure, controls):
    code, output, _ = measure("--controls", controls, "--json")
    assert code == 0
    assert set(json.loads(output)["loss"]["mean"]) == {
        "base",
        "random",
        "uniform",
        "multi-task",
        "arrow",
        "calibrated",
        "oracle",
    }
    code, output, _ = measure("--controls", controls, "--json", "--routes", "multi-task,expert:past_tense")
    means = json.loads(output)["loss"]["mean"]
    assert means["multi-task"] == pytest.approx(means["expert:past_tense"])


def test_arrow_takes_its_options(measure):
    words = ("--json", "--routes", "arrow,uniform", "--arrow.temperature", "1e9", "--combine")
    one = json.loads(measure(*words, "factors")[1])["loss"]
    two = json.loads(measure(*words, "outputs")[1])["loss"]
    # All three experts, alike: that is uniform, however they are combined.
    for found in (one, two):
        assert found["mean"]["arrow"]["mean"] == pytest.approx(found["mean"]["uniform"]["mean"], rel=1e-3)
    assert one["mean"]["arrow"]["mean"] != pytest.approx(two["mean"]["arrow"]["mean"], rel=1e-3)


def test_yaml_may_list_routes_and_metrics(lorary, trained_library, tmp_path):
    config = tmp_path / "eval.yaml"
    content = {
        "tasks": {"plurals": "generated:plurals"},
        "routes": ["base", "uniform"],
        "metrics": ["loss", "exact_match"],
        "evaluation": {"num_examples": 2, "max_new_tokens": 2},
    }
    config.write_text(json.dumps(content))
    code, output, _ = lorary("eval", trained_library, "--config", str(config), "--json")
    assert code == 0
    assert list(json.loads(output)) == ["loss", "exact_match"]


def test_a_metric_that_suits_no_example_is_named(measure):
    code, output, _ = measure("--routes", "base", "--metrics", "loss,accuracy_sum")
    assert code == 0
    assert "no example can be used for accuracy_sum: accuracies need examples with choices" in output


def test_ctrl_c_says_that_nothing_is_kept(measure, monkeypatch):
    @contextmanager
    def interrupt(what):
        def show(event):
            raise KeyboardInterrupt

        yield show

    monkeypatch.setattr(command, "show_evaluation", interrupt)
    code, _, errors = measure("--routes", "base")
    assert code == 130
    assert "keeps no results; the library is unchanged" in errors


def test_the_oracle_is_left_out_where_a_task_has_no_expert(lorary, trained_library):
    words = ("--tasks", "generated:plurals", "generated:questions", *FEW, "--json")
    code, output, _ = lorary("eval", trained_library, *words)
    assert code == 0
    assert set(json.loads(output)["loss"]["mean"]) == {"base", "random", "uniform", "arrow", "calibrated"}
    code, _, errors = lorary("eval", trained_library, *words, "--routes", "base,oracle")
    assert code == 2
    assert "has no expert 'questions'" in errors


def test_an_expert_of_several_tasks_is_not_for_routers_that_learn_from_examples():
    tasks = {name: generate_task(name) for name in ("plurals", "prices")}
    with pytest.raises(ValueError, match="expert 'words' has several: leave out that router"):
        find_task_of_each(["words"], dict.fromkeys(tasks, "words"), tasks, ["retrieval"])
    assert find_task_of_each(["words"], dict.fromkeys(tasks, "words"), tasks, ["arrow"]) == {}


def test_given_controls_are_among_the_default_routes():
    found = choose_routes(None, ["a"], {"a": "a"}, ["a"], ["multi-task"])
    assert found == ["base", "random", "uniform", "arrow", "calibrated", "multi-task", "oracle"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--routes", "base,arow"), "there is no route 'arow': did you mean 'arrow'"),
        (("--routes", "base,base"), "routes must have at least one name, each once"),
        (("--routes", "expert:plural"), "has no expert 'plural': did you mean 'plurals'"),
        (("--routes", "multi-task"), "there is no route 'multi-task'"),
        (("--routes", "base,uniform", "--against", "bose"), "found 'bose': did you mean 'base'"),
        (("--metrics", "los"), "no metric is called 'los': did you mean 'loss'"),
        (("--evaluation.num_examples", "0"), "num_examples must be at least 1"),
        (("--arrow.top_k", "9"), "top_k must be between 1 and the number of experts, 3, found 9"),
        (("--controls", "nowhere"), "there is no library at 'nowhere'"),
        (("--shots", "-1"), "--shots must be 0 or more, found -1"),
        (("--base", "no/such"), "no base model 'no/such'"),
        (("--evaluation.max_length", "9"), "example of at most 9 tokens, none of"),
        (("--metrics", "accuracy_sum", "--routes", "base"), "accuracies need examples with choices"),
    ],
)
def test_bad_input_is_refused(measure, words, message):
    code, output, errors = measure(*words)
    assert (code, output) == (2, "")
    assert message in errors


def test_a_task_without_the_split_is_refused(lorary, trained_library, write_rows, tmp_path):
    config = tmp_path / "eval.yaml"
    config.write_text(json.dumps({"tasks": {"odes": {"train": write_rows("a.jsonl")}}}))
    code, _, errors = lorary("eval", trained_library, "--config", str(config))
    assert code == 2
    assert "task 'odes' has no 'test' examples" in errors


def test_a_control_with_an_experts_name_is_refused(measure, controls, trained_library):
    library = Library.open(controls)
    library.add(replace(library["multi-task"], name="prices"))
    code, _, errors = measure("--controls", controls)
    assert code == 2
    assert "'prices' is an expert too" in errors
