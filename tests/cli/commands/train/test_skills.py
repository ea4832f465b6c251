"""Skills that tasks share, trained on the command line."""

import json
from contextlib import contextmanager

import pytest
import torch

from lorary.assembly import load_model
from lorary.cli.commands.train import skills as command
from lorary.library import Library
from lorary.library.skills import load_skills
from lorary.models import load_base

TASKS = ("--tasks", "generated:plurals", "generated:prices")
SMALL = ("--skills.num_skills", "3", "--skills.granularity", "block")
MHR = (*TASKS, "--method", "mhr", "--skills.num_splits", "4", *SMALL)


def open_library(tmp_path):
    return Library.open(str(tmp_path / "lib"))


@pytest.mark.parametrize(("method", "splits"), [("poly", "1"), ("mhr", "4")])
def test_skills_and_their_table_are_stored(train_quickly, tmp_path, method, splits):
    words = (*TASKS, "--method", method, "--skills.num_splits", splits, *SMALL)
    code, output, errors = train_quickly(*words, "--skills.shared_skill", "true")
    assert code == 0, errors
    skill_set = load_skills(open_library(tmp_path))
    assert [skill.name for skill in skill_set.skills] == ["skills-0", "skills-1", "skills-2", "skills-shared"]
    assert skill_set.table.tasks == ("plurals", "prices")
    assert (skill_set.table.num_splits, skill_set.table.granularity) == (int(splits), "block")
    assert skill_set.skills[0].card.provenance["prompts"]["template"] == "plain"
    assert "skills    3 and a shared one; rank 2 on 14 layers" in output
    assert f"table     2 tasks x {splits} split{'s' * (splits != '1')} x 3 skills for each block" in output
    assert "4 skills, and the table of 2 tasks, stored in library" in output
    assert (tmp_path / f"lib-run-{method}" / "curves.png").is_file()


def test_the_same_command_again_finds_all_done(train_quickly, tmp_path):
    train_quickly(*MHR)
    before = open_library(tmp_path)["skills-1"]
    code, output, errors = train_quickly(*MHR)
    assert (code, errors) == (0, "")
    assert f"state     finished, in {tmp_path / 'lib-run-mhr'}" in output
    after = open_library(tmp_path)["skills-1"]
    assert after.card == before.card
    assert all(torch.equal(after.factors[path].b, pair.b) for path, pair in before.factors.items())


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(train_quickly, tmp_path, monkeypatch):
    @contextmanager
    def interrupt(what):
        def show(event):
            if event.num_steps == 1:
                raise KeyboardInterrupt

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(command, "show_training", interrupt)
        code, _, errors = train_quickly(*MHR)
    assert code == 130
    assert "run the same command again, without --fresh, to resume" in errors
    code, output, _ = train_quickly(*MHR)
    assert code == 0
    assert f"state     resumed, from {tmp_path / 'lib-run-mhr'}" in output
    assert len(load_skills(open_library(tmp_path)).skills) == 3


def test_skills_trained_otherwise_are_replaced_only_if_asked(train_quickly, tmp_path):
    train_quickly(*MHR)
    other = (*MHR, "--skills.table_learning_rate", "0.5", "--fresh")
    code, _, errors = train_quickly(*other)
    assert code == 2
    assert "already has 'skills-0', 'skills-1', 'skills-2' from other data or settings" in errors
    assert train_quickly(*other, "--expert", "more")[0] == 0
    assert train_quickly(*other, "--replace")[0] == 0
    library = open_library(tmp_path)
    for name in ("skills-0", "more-0"):
        assert load_skills(library, name).skills[0].card.provenance["training"]["table_learning_rate"] == 0.5


def test_no_skill_of_a_larger_set_is_left_when_a_smaller_one_replaces_it(train_quickly, tmp_path):
    train_quickly(*MHR)
    train_quickly(*MHR, "--expert", "skills-9")
    assert train_quickly(*MHR, "--skills.num_skills", "2", "--fresh", "--replace")[0] == 0
    others = {"skills-9-0", "skills-9-1", "skills-9-2"}
    assert {name for name in open_library(tmp_path) if "skills" in name} == {"skills-0", "skills-1", *others}


def test_what_does_not_suit_is_refused_at_once_before_the_base_model_is_loaded(
    train_quickly, tmp_path, monkeypatch
):
    monkeypatch.setattr("lorary.cli.base_model.load_base", None)
    code, _, errors = train_quickly(
        *TASKS,
        "--method",
        "poly",
        "--skills.num_splits",
        "4",
        "--skills.num_skills",
        "0",
        "--skills.trained",
        "table",
        "--training.rank",
        "0",
        "--expert",
        "../x",
        "--groups",
        '{"a": ["plurals"]}',
    )
    assert code == 2
    for part in (
        "rank must be at least 1, found 0",
        "num_skills must be at least 1, found 0",
        "--groups trains one expert per group, found --method poly",
        "--method poly has 1 split, found --skills.num_splits 4: use --method mhr",
        "--skills.trained table needs skills to start from",
        "'../x'",
    ):
        assert part in " ".join(errors.split()), part
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "mhr"), "--method mhr needs --skills.num_splits of at least 2, such as 8, found 1"),
        (("--method", "mhr", "--skills.num_splits", "5"), "5 does not divide those of"),
        (("--method", "poly", "--skills.granularity", "head"), "granularity"),
        (("--skills.num_skills", "4"), "--skills.num_skills is a setting of method poly and mhr"),
    ],
)
def test_bad_settings_leave_no_library(train_quickly, tmp_path, words, message):
    code, _, errors = train_quickly(*TASKS, *words)
    assert code == 2
    assert message in " ".join(errors.split())
    assert not (tmp_path / "lib").exists()


@pytest.fixture
def trained(train_quickly, tmp_path):
    assert train_quickly(*MHR)[0] == 0
    return str(tmp_path / "lib")


@pytest.fixture
def answer(lorary, trained):
    """Answers as JSON, and what is said besides."""

    def run(*words):
        prompt = ("plural of cat", "--max-new-tokens", "3", "--json")
        code, output, errors = lorary("generate", trained, *prompt, *words)
        assert code == 0, errors
        return json.loads(output), errors

    return run


def test_a_prompt_is_answered_as_one_of_a_task(answer, trained, tiny_base):
    model = load_model(load_base(tiny_base), trained)
    (ids,) = [model.tokenizer("plural of cat")["input_ids"]]
    for words, choice in (
        (("--task", "prices"), {"task": "prices"}),
        (("--new-task", "mean"), {"task": None}),
    ):
        found, _ = answer("--template", "none", *words)
        (expected,) = model.generate([ids], experts=choice, max_new_tokens=3)
        assert found["answer"] == expected
        assert (found["router"], found["expert"], found["task"]) == (None, None, choice["task"])
    found, errors = answer("--new-task", "nearest")
    assert "note: the nearest task is p" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "skills-2): name a task of the skills with --task, train some"),
        (("--task", "pricse"), "no task 'pricse' (None takes their table's mean row): did you mean 'prices'"),
        (
            ("--task", "prices", "--expert", "skills-0", "--show-experts"),
            "leave out --expert, --show-experts",
        ),
        (("--task", "prices", "--new-task", "mean"), "--task already sets the experts: leave out --new-task"),
        (("--skills", "skills-0"), "--skills names the skills of a task"),
        (("--task", "prices", "--skills", "other"), "must have a skill 'other', found 0: name one of"),
    ],
)
def test_what_does_not_go_with_a_task_is_refused(lorary, trained, words, message):
    code, _, errors = lorary("generate", trained, "a", *words)
    assert code == 2
    assert message in " ".join(errors.split())


def test_a_library_of_skills_is_evaluated_by_task(lorary, trained, tmp_path):
    tasks = ("--tasks", "generated:plurals", "generated:prices", "generated:iso_dates")
    out = ("--evaluation.num_examples", "2", "--out", str(tmp_path / "out"))
    code, output, errors = lorary("eval", trained, *tasks, *out)
    assert code == 0, errors

    assert all(route in output for route in ("tasks", "base")) and "arrow" not in output
    code, _, errors = lorary("eval", trained, *tasks, "--routes", "base,arrow")
    assert code == 2
    assert "route 'arrow' needs experts, the library has skills only" in " ".join(errors.split())


def test_one_of_several_sets_is_evaluated_by_its_name(lorary, train_quickly, tmp_path):
    train_quickly(*MHR)
    train_quickly(*MHR, "--expert", "more")
    words = ("eval", str(tmp_path / "lib"), *TASKS, "--evaluation.num_examples", "2")
    code, _, errors = lorary(*words, "--routes", "base,tasks")
    assert code == 2
    assert "must have one set of skills, found 2: name one of ['more-0', 'skills-0']" in errors
    code, output, errors = lorary(*words, "--skills", "more-1", "--out", str(tmp_path / "out"))
    assert code == 0, errors
    assert "tasks" in output
    code, _, errors = lorary(*words, "--skills", "more-1", "--routes", "base")
    assert code == 2
    assert "--skills names the skills of the route tasks" in errors


def test_a_library_of_skills_alone_is_built_for_its_tasks(lorary, trained, tmp_path):
    """Guards a refusal: nothing but experts of a router could be built."""
    out = tmp_path / "built"
    code, output, errors = lorary("build", trained, "--out", str(out))
    assert code == 0, errors
    assert "building 3 skills for 2 tasks, without the base model" in errors
    last = output.splitlines()[-1]
    assert last.startswith(f"next: lorary generate {out} PROMPT --task plurals")
    code, output, errors = lorary("generate", str(out), "cat", "--task", "plurals", "--max-new-tokens", "2")
    assert code == 0, errors
    model = load_model(str(out))
    assert (model.names, model.tasks, model.routing[0]) == ((), ("plurals", "prices"), None)
    code, _, errors = lorary("build", trained, "--out", str(tmp_path / "x"), "--router", "arrow")
    assert (
        code == 2
        and "--router 'arrow' needs experts, the library has skills only: leave out --router" in errors
    )


def test_of_several_sets_one_is_built(lorary, train_quickly, tmp_path):
    train_quickly(*MHR)
    train_quickly(*MHR, "--expert", "more")
    library, out = str(tmp_path / "lib"), str(tmp_path / "built")
    code, _, errors = lorary("build", library, "--out", out)
    assert code == 2 and "name any skill of the set" in " ".join(errors.split())
    code, output, errors = lorary("build", library, "--out", out, "--skills", "more-1", "--json")
    assert code == 0, errors
    assert json.loads(output)["tasks"] == ["plurals", "prices"]
    assert set(load_model(out).skills.table.tasks) == {"plurals", "prices"}


def test_methods_have_run_folders_of_their_own(train_quickly, tmp_path):
    """Guards a run of skills and one of a router that shared a folder, so that the second was refused."""
    for method in (MHR, (*TASKS, "--method", "poly", *SMALL), (*TASKS,)):
        code, _, errors = train_quickly(*method, "--expert", "both", "--replace")
        assert code == 0, errors
    found = {path.name for path in tmp_path.iterdir() if path.name.startswith("lib-run")}
    assert found == {"lib-run-mhr-both", "lib-run-poly-both", "lib-run-both"}
