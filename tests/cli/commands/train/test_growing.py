"""Trainings into a library that has experts already."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from lorary.cli.commands.train import experts as train
from lorary.experts.parts.dora import DoraPart
from lorary.library import Library
from lorary.training.folder.lock import hold_run_folder

PLURALS, PRICES = "generated:plurals", "generated:prices"
SLOW = ("--training.num_slots", "1")


@pytest.fixture
def library(tmp_path):
    """Opens the library that is trained into."""
    return lambda: Library.open(str(tmp_path / "lib"))


@pytest.fixture
def stop(monkeypatch):
    """Presses Ctrl-C within a training after some steps of all experts."""

    @contextmanager
    def run(num_steps):
        @contextmanager
        def interrupt(what):
            def show(event):
                if event.num_steps == num_steps:
                    raise KeyboardInterrupt

            yield show

        with monkeypatch.context() as patch:
            patch.setattr(train, "show_training", interrupt)
            yield

    return run


def same_weights(one, other):
    return all(
        torch.equal(one.factors[path].a, pair.a) and torch.equal(one.factors[path].b, pair.b)
        for path, pair in other.factors.items()
    )


def test_another_task_trains_into_the_same_library(train_quickly, library, tmp_path):
    """Guards a refusal: the second training into a library failed, its folder had another run."""
    train_quickly("--tasks", PLURALS)
    before = library()["plurals"]
    code, output, _ = train_quickly("--tasks", PRICES)
    assert code == 0 and f"state     new run, saved in {tmp_path / 'lib-run'}\n" in output
    assert sorted(library()) == ["plurals", "prices"]
    assert same_weights(library()["plurals"], before)


def test_known_tasks_are_left_out_and_told(train_quickly, library):
    train_quickly("--tasks", PLURALS)
    date = library()["plurals"].card.provenance["date"]
    code, output, _ = train_quickly("--tasks", PLURALS, PRICES)
    assert code == 0
    assert "known     1 expert (plurals): already in the library, from the same data and settings\n" in output
    assert "experts   1, 1 at a time" in output and "steps     2 in total" in output
    assert library()["plurals"].card.provenance["date"] == date and "prices" in library()


def test_what_is_known_needs_no_run_folder(train_quickly, library, tmp_path):
    train_quickly("--tasks", PLURALS, "--run", str(tmp_path / "elsewhere"))
    found = json.loads(train_quickly("--tasks", PLURALS, "--json")[1])
    assert (found["experts"], found["known"], found["run"]) == ([], ["plurals"], None)
    assert not (tmp_path / "lib-run").exists()
    assert train_quickly("--tasks", PLURALS, "--fresh")[1].count("1 expert stored in library") == 1


def test_more_data_and_more_steps_are_refused_with_what_to_do(train_quickly, library, write_rows):
    train_quickly("--tasks", write_rows("poetry.jsonl", 30), PRICES)
    words = ("--tasks", write_rows("poetry.jsonl", 60), PRICES)
    code, _, errors = train_quickly(*words)
    assert code == 2 and "already has 'poetry' (it was trained on other examples): add --replace" in errors
    code, _, errors = train_quickly(*words, "--training.max_steps", "3")
    assert code == 2 and "'prices' (it was trained with other settings (max_steps 2, not 3))" in errors
    assert len(errors.splitlines()) == 1
    code, output, _ = train_quickly(*words, "--replace")
    assert code == 0 and "known     1 expert (prices)" in output and "1 expert stored in library" in output


def test_a_killed_run_goes_on_although_others_were_trained_meanwhile(train_quickly, library, stop, tmp_path):
    train_quickly("--tasks", PLURALS)
    words = ("--tasks", PLURALS, PRICES, "generated:past_tense", *SLOW)
    with stop(3):
        assert train_quickly(*words)[0] == 130
    assert sorted(library()) == ["plurals", "prices"]
    code, output, _ = train_quickly("--tasks", "generated:iso_dates")
    assert code == 0
    assert (
        f"saved in {tmp_path / 'lib-run-2'} (other trainings are unfinished in {tmp_path / 'lib-run'},"
        in output
    )
    code, output, _ = train_quickly(*words)
    assert code == 0
    assert f"state     resumed, 1 of 2 experts finished, from {tmp_path / 'lib-run'}\n" in output
    assert "known     2 experts (plurals, prices)" in output and "1 expert stored" in output
    assert sorted(library()) == ["iso_dates", "past_tense", "plurals", "prices"]
    # Both runs are complete, so the next training takes the first folder.
    assert f"saved in {tmp_path / 'lib-run'}\n" in train_quickly("--tasks", "generated:questions")[1]


def test_two_trainings_at_once(train_quickly, stop, tmp_path):
    with stop(1):
        train_quickly("--tasks", PLURALS)
    with hold_run_folder(tmp_path / "lib-run"):
        code, _, errors = train_quickly("--tasks", PLURALS)
        assert code == 2 and "another run" in errors and "wait until it has finished" in errors
        assert [line[:6] for line in errors.splitlines()][1:] == ["error:"]
        code, output, _ = train_quickly("--tasks", PRICES)
        assert code == 0 and f"saved in {tmp_path / 'lib-run-2'}" in output
    assert "resumed, 0 of 1 expert finished" in train_quickly("--tasks", PLURALS)[1]


def test_an_expert_goes_on_as_a_new_one_with_itself_as_parent(train_quickly, library, write_rows):
    train_quickly("--tasks", write_rows("poetry.jsonl"))
    before = library()["poetry"]
    words = ("--tasks", write_rows("more/poetry.jsonl", start=100), "--continue", "poetry")
    code, output, _ = train_quickly(*words)
    assert code == 0 and "continue  poetry-2 starts from the weights of poetry\n" in output
    assert same_weights(library()["poetry"], before)
    card = library()["poetry-2"].card
    assert (card.parents, card.tasks, card.role) == (("poetry",), ("poetry",), "expert")
    assert not same_weights(library()["poetry-2"], before)
    assert "already has 1 expert (poetry-2)" in train_quickly(*words)[1]
    code, output, _ = train_quickly(*words, "--training.max_steps", "3")
    assert code == 0 and "continue  poetry-3 starts from the weights of poetry\n" in output


def test_many_experts_go_on_in_one_run_each_in_its_place(train_quickly, library, write_rows, stop):
    """Also after Ctrl-C: an expert that is replaced is needed to resume the run of the others."""
    train_quickly("--tasks", write_rows("poetry.jsonl"), write_rows("prose.jsonl"))
    before = {name: library()[name] for name in ("poetry", "prose")}
    more = [write_rows(f"more/{name}.jsonl", start=100) for name in before]
    words = ("--tasks", *more, "--continue", "poetry", "prose", "--replace", *SLOW)
    with stop(3):
        code, _, errors = train_quickly(*words)
    assert code == 130 and "0 of 2 experts finished and stored" in errors
    assert same_weights(library()["poetry"], before["poetry"])
    code, output, _ = train_quickly(*words)
    assert code == 0 and "resumed, 1 of 2 experts finished" in output
    for name, expert in before.items():
        assert not same_weights(library()[name], expert)
        assert library()[name].card.parents == (name,)
    assert "already has 2 experts (poetry, prose)" in train_quickly(*words)[1]
    assert train_quickly(*words, "--fresh")[0] == 0


def test_another_template_than_that_of_the_expert_is_told(train_quickly, library):
    train_quickly("--tasks", PLURALS)
    words = ("--tasks", PRICES, "--continue", "plurals")
    assert "note " not in train_quickly(*words)[1]
    expert = library()["plurals"]
    prompts = {"prompts": {"template": "chat"}}
    library()["plurals"] = replace(expert, card=replace(expert.card, provenance=prompts))
    _, output, _ = train_quickly(*words, "--fresh")
    assert "note      plurals was trained with --template 'chat', this training uses plain\n" in output


def test_a_task_goes_on_from_an_expert_of_another_name(train_quickly, library):
    train_quickly("--tasks", PLURALS)
    code, output, _ = train_quickly("--tasks", PRICES, "generated:questions", "--continue", "prices=plurals")
    assert code == 0 and "continue  prices starts from the weights of plurals\n" in output
    assert library()["prices"].card.parents == ("plurals",) and library()["questions"].card.parents == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["poetry"], "has no expert 'poetry'"),
        (["odes=plurals"], "'odes' is not trained by this command, which trains 'prices'"),
        (["prices=plurals,plurals"], "found one of them twice"),
        (
            ["plurals", "--training.rank", "1"],
            "at least that of expert 'plurals', 2, found 1: add --training.rank 2",
        ),
        (["plurals", "--training.target_modules", ".*q_proj"], "it changes .* that would not be trained"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_go_on_is_refused_before_training(train_quickly, library, words, message):
    import re

    train_quickly("--tasks", PLURALS)
    code, _, errors = train_quickly("--tasks", PRICES, "--continue", *words)
    assert code == 2 and re.search(message, errors), errors
    assert list(library()) == ["plurals"]


def test_an_expert_of_another_kind_is_refused_for_its_kind_not_for_its_rank(train_quickly, library):
    train_quickly("--tasks", PLURALS)
    plurals = library()["plurals"]
    parts = {path: (DoraPart(pair.b.norm(dim=1)),) for path, pair in plurals.factors.items()}
    library()["scaled"] = replace(plurals, name="scaled", parts=parts)
    words = ("--continue", "scaled", "--training.rank", "1")
    code, _, errors = train_quickly("--tasks", PRICES, *words)
    assert code == 2
    assert (
        "--continue needs experts of low-rank factors only, but expert 'scaled' has DoRA magnitudes" in errors
    )


def test_a_missing_library_has_nothing_to_go_on_from_and_is_not_made(train_quickly, tmp_path):
    code, _, errors = train_quickly("--tasks", PRICES, "--continue", "plurals")
    assert code == 2 and "there is no library at" in errors and not (tmp_path / "lib").exists()


def test_without_a_base_model_it_is_that_of_the_librarys_experts(lorary, train_quickly, tmp_path):
    """Experts for the embedded model came among those for another one, and no router could use both."""
    train_quickly("--tasks", PLURALS)
    words = ("--tasks", PRICES, "--training.max_steps", "1")
    code, output, errors = lorary("train", str(tmp_path / "lib"), *words)
    assert code == 0, errors
    one, other = (Library.open(str(tmp_path / "lib"))[name] for name in ("plurals", "prices"))
    assert f"base      {one.base_model}, " in output
    assert one.base_model == other.base_model


def test_a_library_that_cannot_be_written_is_refused_before_training(train_quickly, library, monkeypatch):
    import errno

    train_quickly("--tasks", PLURALS)

    def refuse(*arguments, **options):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("lorary.library.storage.local.storage.LocalStorage.changing", refuse)
    monkeypatch.setattr(train, "train", lambda *arguments: pytest.fail("trained"))
    code, _, errors = train_quickly("--tasks", PRICES)
    assert code == 2 and "cannot write in library" in errors and "not allowed to write there" in errors


def test_too_large_a_rank_is_refused_before_a_library_is_made(train_quickly, tmp_path, monkeypatch):
    monkeypatch.setattr("lorary.training.memory.find_free_bytes", lambda: 10**6)
    code, _, errors = train_quickly("--tasks", PRICES, "--training.rank", "4000")
    assert code == 2 and "the training needs about" in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "lib").exists() and not (tmp_path / "lib-run").exists()


def test_the_plan_tells_the_memory(train_quickly):
    assert (
        "memory    about 1 MB beside the base model and its activations\n"
        in train_quickly("--tasks", PRICES)[1]
    )


@pytest.mark.parametrize("device", ["foo", "cuda:99", "", "meta"])
def test_a_device_that_this_machine_lacks_is_one_line(train_quickly, tmp_path, device):
    code, _, errors = train_quickly("--tasks", PRICES, "--device", device)
    assert code == 2 and errors.count("\n") == 1 and len(errors) < 400, errors
    assert errors.startswith("error: --device must be a device of this machine, such as cpu or cuda:1, found")
    assert not (tmp_path / "lib").exists()
