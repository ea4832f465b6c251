import errno
import json

import pytest
from jsonargparse import Namespace
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorary.adaptation import METHODS
from lorary.adaptation.checks import ORIGIN
from lorary.cli.commands.adapt.configs import read_methods
from lorary.library import Library
from lorary.library.storage.local.storage import LocalStorage
from lorary.training.objectives import few_shot

QUICK = ("--training.max_steps", "3", "--training.batch_size", "2")


@pytest.fixture
def few(write_rows):
    return write_rows("few.jsonl", 6)


@pytest.fixture
def copied(trained_library, tmp_path):
    """A copy of the trained library, which a test may change."""
    library = Library.open(str(tmp_path / "lib"), create=True)
    for name, expert in Library.open(trained_library).items():
        library.add(expert, name)
    return str(tmp_path / "lib")


@pytest.fixture
def adapt(lorary, copied, few, tmp_path):
    def go(*words, tasks=None):
        places = (few,) if tasks is None else tasks
        return lorary("adapt", copied, "--tasks", *places, *QUICK, "--run", str(tmp_path / "run"), *words)

    return go


def test_it_says_what_it_will_do_and_what_came_of_it(adapt, copied, tmp_path):
    code, output, _ = adapt("--method", "average")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == f"library   {copied}, 3 experts"
    assert lines[2] == "tasks     1: few; 5 examples for training, 1 for validation"
    assert lines[3] == "methods   average: the mean of the experts, fine-tuned"
    assert lines[4].startswith("budget    at most ") and lines[4].endswith("for each method")
    assert lines[5] == f"store     the experts of method average, in library {copied}"
    assert lines[6] == f"state     saved in {tmp_path / 'run'}"
    assert lines[7].split() == [
        "task",
        "made",
        "from",
        "seen",
        "tokens",
        "steps",
        "start",
        "validation",
        "test",
    ]
    assert lines[8].startswith("few") and "past_tense 0.33, plurals 0.33, prices 0.33" in lines[8]
    assert lines[9] == f"1 expert stored in library '{copied}': few (average)"
    assert lines[10].startswith(f"next: lorary generate {copied} PROMPT --expert few")
    card = Library.open(copied)["few"].card
    assert card.parents == ("past_tense", "plurals", "prices") and card.tasks == ("few",)
    assert card.provenance[ORIGIN]["method"] == "average"
    assert card.provenance["prompts"]["max_length"] == 512


def test_a_library_that_cannot_be_written_is_refused_before_any_training(adapt, tmp_path, monkeypatch):
    """It was refused after all training, when the new experts were to be stored."""

    def refuse(*_):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(LocalStorage, "changing", refuse)
    code, _, errors = adapt("--method", "fresh")
    assert code == 2 and "not allowed to write there" in errors and not (tmp_path / "run").exists()


def test_methods_are_compared_on_the_same_examples_and_the_best_is_stored_if_asked(adapt, copied):
    words = ("--method", "fresh,average,weights", "--seeds", "0,1")
    code, output, _ = adapt(*words)
    assert code == 0
    assert "few" not in Library.open(copied)
    assert "methods   3: fresh, average, weights" in output
    assert "for each method and each of 2 seeds" in output
    assert "paired differences" in output
    assert output.splitlines()[-1].endswith("--seeds 0,1 --store best")
    code, output, _ = adapt(*words, "--store", "best", "--json")
    found = json.loads(output)
    assert (
        code == 0
        and [run["method"] for run in found["runs"]] == ["fresh"] * 2 + ["average"] * 2 + ["weights"] * 2
    )
    losses = {(run["method"], run["seed"]): run["tasks"][0]["validation_loss"] for run in found["runs"]}
    stored = found["stored"]["few"]
    assert losses[stored["method"], stored["seed"]] == min(losses.values())
    assert Library.open(copied)["few"].card.provenance[ORIGIN]["method"] == stored["method"]
    assert [entry["route"] for entry in found["differences"]] == ["average", "weights"]
    assert {entry["against"] for entry in found["differences"]} == {"fresh"}


@pytest.mark.parametrize(
    ("method", "protocol", "trials"),
    [
        ("poly", "fixed", ["table-0.1-skills-0.003"]),
        ("poly-z", "grid", ["table-0.1-skills-0.01", "table-0.5-skills-0.01"]),
    ],
)
def test_skills_are_adapted_by_the_published_protocols(
    adapt, copied, tmp_path, monkeypatch, method, protocol, trials
):
    """Guards a bug: the second run was refused, since cards of skills name their data by tasks."""
    monkeypatch.setattr(few_shot, "NUM_STEPS", 4)
    words = ("--method", method, "--adapt.protocol", protocol, "--training.validate_every", "2")
    code, output, errors = adapt(*words, "--training.learning_rate", "0.01", "--json")
    assert code == 0, errors
    (run,) = json.loads(output)["runs"]
    (task,) = run["tasks"]
    assert task["steps"] == 4  # not the 3 of --training.max_steps
    folder = tmp_path / "run" / method / "seed-0" / "training" / "few"
    assert sorted(each.name for each in folder.iterdir()) == trials
    provenance = Library.open(copied)["few"].card.provenance
    assert provenance[ORIGIN]["protocol"] == protocol
    if protocol == "fixed":
        assert provenance["training"]["train"]["learning_rate"] == 3e-3
    code, output, errors = adapt(*words, "--training.learning_rate", "0.01", "--json")
    assert code == 0, errors
    assert json.loads(output)["runs"][0]["tasks"] == [task]


def test_all_methods_are_those_that_can_run():
    options = Namespace(method="all", multi_task=None)
    assert read_methods(options) == [name for name in METHODS if name != "multi-task"]
    assert read_methods(Namespace(method="all", multi_task="prices")) == list(METHODS)
    assert "calibrated" not in read_methods(options, is_for_encoder=True)


def test_several_methods_are_stored_under_names_of_their_own(adapt, copied):
    code, output, _ = adapt("--method", "fresh,multi-task", "--multi-task", "prices", "--store", "all")
    assert code == 0 and "store     the experts of all methods" in output
    assert {"few-fresh", "few-multi-task"} <= set(Library.open(copied))


def test_the_same_command_again_reads_its_results_and_stores_nothing_new(adapt, copied, monkeypatch):
    adapt("--method", "average")
    before = Library.open(copied)["few"].card
    code, output, _ = adapt("--method", "average")
    assert code == 0 and "resumed from" in output
    assert Library.open(copied)["few"].card == before


def test_another_result_under_the_name_needs_replace_and_that_is_told_before_any_work(adapt, copied, few):
    """Guards a name clash that was told after all methods had run."""
    adapt("--method", "average")
    for words in (("--method", "fresh"), ("--method", "average,fresh", "--store", "fresh"), ("--seeds", "1")):
        code, output, errors = adapt("--method", "average", *words)
        assert code == 2 and "already has 'few' from another adaptation: add --replace" in errors
        assert output == ""
    code, output, errors = adapt("--method", "average", "--shots", "3")
    assert code == 2 and "already has 'few' from another adaptation" in errors and output == ""
    code, _, _ = adapt("--method", "fresh", "--replace")
    assert code == 0 and Library.open(copied)["few"].card.provenance[ORIGIN]["method"] == "fresh"


def test_an_expert_of_other_origin_is_not_replaced(adapt, few):
    code, _, errors = adapt("--method", "fresh", tasks=(f"prices={few}",))
    assert (
        code == 2 and "already has 'prices': add --replace to replace them, or choose another name" in errors
    )


def test_the_result_may_go_to_another_library_under_another_name(adapt, copied, tmp_path):
    code, output, _ = adapt("--method", "fresh", "--out", str(tmp_path / "new"), "--name", "odes")
    assert code == 0
    assert list(Library.open(str(tmp_path / "new"))) == ["odes"] and "odes" not in Library.open(copied)
    assert f"lorary generate {tmp_path / 'new'} PROMPT --expert odes" in output


def test_a_test_is_measured_and_shots_are_drawn(adapt, write_rows, tmp_path):
    (tmp_path / "task").mkdir()
    for split, start in (("train", 0), ("test", 50)):
        write_rows(f"task/odes.{split}.jsonl", 12, start)
    code, output, _ = adapt("--method", "fresh", "--shots", "5", "--json", tasks=(str(tmp_path / "task"),))
    found = json.loads(output)
    assert code == 0 and found["compared_on"] == "test"
    assert found["runs"][0]["tasks"][0]["test_loss"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "nearst,fresh"), "--method: no method is named 'nearst': did you mean 'nearest'"),
        (("--method", "fresh,fresh"), "each once"),
        (("--method", "fresh", "--by", "cosin"), "no retrieval is named 'cosin'"),
        (("--method", "fresh", "--retrieve", "2"), "--retrieve is a setting of methods nearest, average"),
        (("--method", "average", "--adapt.penalty", "1"), "--adapt.penalty is a setting of methods lorahub,"),
        (("--method", "average", "--retrieve", "9"), "retrieve must be at most 3 experts"),
        (("--method", "average,weights", "--by", "random"), "--by needs --retrieve, because"),
        (("--method", "multi-task"), "set multi_task (--multi-task NAME)"),
        (("--method", "multi-task", "--multi-task", "pries"), "did you mean 'prices'"),
        (("--seeds", "one"), "--seeds must be whole numbers"),
        (("--seeds", "1,1"), "--seeds must be different"),
        (("--store", "bets"), "--store must be one of the methods of this run, best, all or none"),
        (
            ("--method", "fresh", "--against", "poly"),
            "--against must be one of the methods of this run, fresh",
        ),
        (("--shots", "0"), "--shots must be at least 1, found 0"),
        (("--method", "fresh,average", "--store", "all", "--name", "x"), "--name names one expert"),
        (("--method", "fresh", "--name", "a/b"), "a/b"),
        (("--method", "fresh", "--name", ""), "an expert's name must not be empty"),
        (("--method", "fresh", "--rank", "100000"), "rank must be at most "),
    ],
)
def test_bad_options_are_explained(adapt, words, message, tmp_path):
    code, output, errors = adapt(*words)
    assert code == 2 and message in errors
    assert output == "", "the plan is printed for what can run"
    assert not list((tmp_path / "run").glob("*/seed-0/training"))


def test_a_task_without_examples_is_refused(adapt, tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    code, _, errors = adapt(tasks=(str(tmp_path / "none.jsonl"),))
    assert code == 2 and "none.jsonl" in errors


def test_a_library_without_experts_is_refused(lorary, few, tmp_path):
    Library.open(str(tmp_path / "empty"), create=True)
    code, _, errors = lorary("adapt", str(tmp_path / "empty"), "--tasks", few)
    assert code == 2 and "is empty" in errors


def test_a_base_model_that_no_expert_is_for_is_refused_unless_it_is_stored_elsewhere(
    adapt, tiny_config, tmp_path, tiny_base, copied
):
    """Guards experts of another base model that were stored in the library."""
    other = tmp_path / "other"
    AutoModelForCausalLM.from_config(tiny_config("qwen2", vocab_size=300)).save_pretrained(other)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(other)
    code, output, errors = adapt("--method", "fresh", "--base", str(other))
    assert code == 2 and output == ""
    assert f"has experts for '{tiny_base}', but --base is '{other}': leave out --base" in errors
    code, _, errors = adapt("--method", "fresh", "--base", str(other), "--out", str(tmp_path / "new"))
    assert code == 0, errors
    assert Library.open(str(tmp_path / "new"))["few"].base_model == str(other)


def test_ctrl_c_before_any_work_says_that_nothing_is_kept(adapt, monkeypatch):
    from lorary.cli.commands.adapt import prepare

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "load_options_base", interrupt)
    code, _, errors = adapt("--method", "fresh")
    assert code == 130 and "nothing was computed yet; run the same command again to start" in errors


def test_an_interrupted_run_says_how_to_go_on(adapt, monkeypatch, tmp_path):
    from lorary.cli.commands.adapt import run

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "adapt", interrupt)
    code, _, errors = adapt("--method", "fresh")
    assert (
        code == 130 and f"the state so far is in '{tmp_path / 'run'}': run the same command again" in errors
    )
