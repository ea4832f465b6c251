import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from lorary.errors import TrainingError
from lorary.training import train_experts
from lorary.training.folder import run_folder, state_file

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
def examples(make_examples):
    """The last task's validation examples are of another task, so that it has best weights to remember."""
    found = {name: make_examples(shift, num_train=8, num_validation=3) for shift, name in enumerate(NAMES, 1)}
    other = make_examples(9, num_validation=3).validation
    found["gamma"] = type(found["gamma"])(train=found["gamma"].train, validation=other)
    return found


@pytest.fixture
def config(make_config):
    return make_config(num_slots=2, tokens_per_pass=30, validate_every=1, patience=2, checkpoint_seconds=0)


@pytest.fixture
def assert_same_outcome(assert_same_factors):
    def check(found, expected):
        for name in NAMES:
            assert_same_factors(found.experts[name].factors, expected.experts[name].factors)
            one, other = found.progress[name], expected.progress[name]
            assert (one.step, one.tokens, one.best_step) == (other.step, other.tokens, other.best_step)
            assert [loss for _, loss in one.train_curve] == pytest.approx(
                [loss for _, loss in other.train_curve], rel=1e-3
            )

    return check


def stop_at(moment, error=RuntimeError):
    events = []

    def stop(event):
        events.append(event)
        if len(events) == moment:
            raise error("stop")

    return stop


@pytest.mark.parametrize("moments", [[1], [4], [9], [12], [3, 1, 5, 2, 4]], ids=str)
def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    base, examples, config, tmp_path, assert_same_outcome, moments
):
    whole = train_experts(base, examples, config, tmp_path / "whole")
    for moment in moments:
        with pytest.raises(RuntimeError, match="stop"):
            train_experts(base, examples, config, tmp_path / "stopped", on_progress=stop_at(moment))
    events = []
    resumed = train_experts(base, examples, config, tmp_path / "stopped", on_progress=events.append)
    assert_same_outcome(resumed, whole)
    if moments[0] > 4:
        assert events[0].num_steps > 0


def test_a_finished_run_is_read_and_not_trained_again(base, examples, config, tmp_path, assert_same_outcome):
    whole = train_experts(base, examples, config, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "run.lock", "finished"}
    events = []
    again = train_experts(base, examples, config, tmp_path, on_progress=events.append)
    assert events == []
    assert again.progress == whole.progress
    for name in NAMES:
        assert again.experts[name].card == whole.experts[name].card
    assert_same_outcome(again, whole)


def test_a_fresh_run_starts_over(base, examples, config, tmp_path):
    train_experts(base, examples, config, tmp_path)
    events = []
    train_experts(base, examples, config, tmp_path, fresh=True, on_progress=events.append)
    assert events[0].num_steps == 0


def test_an_interrupt_saves_every_step_that_was_taken(
    base, examples, make_config, tmp_path, assert_same_outcome
):
    config = make_config(checkpoint_seconds=1e9, num_slots=3)
    whole = train_experts(base, examples, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_experts(base, examples, config, tmp_path / "cut", on_progress=stop_at(4, KeyboardInterrupt))
    events = []
    resumed = train_experts(base, examples, config, tmp_path / "cut", on_progress=events.append)
    assert events[0].num_steps == 3 * 3
    assert_same_outcome(resumed, whole)


def test_passes_may_be_cut_otherwise_when_a_run_goes_on(
    base, examples, config, make_config, tmp_path, assert_same_outcome
):
    whole = train_experts(base, examples, config, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stop"):
        train_experts(base, examples, config, tmp_path / "stopped", on_progress=stop_at(5))
    settings = {"num_slots": 2, "validate_every": 1, "patience": 2}
    other = make_config(tokens_per_pass=15, checkpoint_seconds=60, **settings)
    assert_same_outcome(train_experts(base, examples, other, tmp_path / "stopped"), whole)


def test_the_state_is_saved_no_more_often_than_asked(base, examples, make_config, tmp_path, monkeypatch):
    saved = []
    original = run_folder.RunFolder.save_state
    monkeypatch.setattr(
        run_folder.RunFolder,
        "save_state",
        lambda self, state: (saved.append(set(state)), original(self, state)),
    )
    train_experts(base, examples, make_config(checkpoint_seconds=1e9, num_slots=2), tmp_path)
    # Only where experts finish, the first two together; then nothing is left to save.
    assert saved == [{"alpha", "beta"}, {"gamma"}, set()]


def test_another_configuration_in_the_same_folder_is_refused(base, examples, config, make_config, tmp_path):
    train_experts(base, examples, config, tmp_path)
    other = make_config(num_slots=2, validate_every=1, patience=2, learning_rate=2e-2)
    with pytest.raises(
        TrainingError, match=r"differs in configuration learning_rate \(0\.01 there, 0\.02 here\): use"
    ):
        train_experts(base, examples, other, tmp_path)


def test_other_examples_in_the_same_folder_are_refused(base, examples, config, make_examples, tmp_path):
    train_experts(base, examples, config, tmp_path)
    with pytest.raises(TrainingError, match=r"differs in examples beta \('\w+' there, '\w+' here\): use"):
        train_experts(base, {**examples, "beta": make_examples(7)}, config, tmp_path)


def test_another_base_in_the_same_folder_is_refused(base, build_base, examples, config, tmp_path):
    train_experts(base, examples, config, tmp_path)
    with pytest.raises(
        TrainingError, match=rf"differs in base model \('{base.fingerprint}' there, '\w+' here\)"
    ):
        train_experts(build_base("gpt2"), examples, config, tmp_path)


def test_a_damaged_state_is_refused_and_a_run_without_it_starts_over(
    base, examples, config, tmp_path, is_plain
):
    with pytest.raises(RuntimeError, match="stop"):
        train_experts(base, examples, config, tmp_path, on_progress=stop_at(5))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"the saved state '.+' is damaged \(.+\): delete it"):
        train_experts(base, examples, config, tmp_path)
    assert is_plain(base.model)
    state.unlink()
    assert train_experts(base, examples, config, tmp_path).experts.keys() == set(NAMES)


def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(
    base, examples, config, tmp_path, monkeypatch, assert_same_outcome
):
    whole = train_experts(base, examples, config, tmp_path / "whole")
    saved = []

    def publish(scratch, path):
        saved.append(path)
        if len(saved) == 3:
            raise OSError("no space left on device")
        os.replace(scratch, path)

    monkeypatch.setattr(state_file, "publish", publish)
    with pytest.raises(TrainingError, match=r"cannot save the run's state .*no space left on device"):
        train_experts(base, examples, config, tmp_path / "full")
    monkeypatch.undo()
    events = []
    resumed = train_experts(base, examples, config, tmp_path / "full", on_progress=events.append)
    assert events[0].num_steps == 2 * 2
    assert_same_outcome(resumed, whole)


SEEDED = random.Random(0)
KILLS = {
    "uninterrupted": [],
    "after the first pass": [["pass", 1]],
    "after some passes": [["pass", 3], ["pass", 2], ["pass", 2]],
    **{f"before call {n}": [["call", n]] for n in (1, 4, 11, 29, 47, 66, 83, 101, 122, 140)},
    "before many calls": [["call", SEEDED.randint(20, 60)] for _ in range(5)],
    "at any time": [["seconds", SEEDED.uniform(0.01, 0.3)] for _ in range(5)],
}
# A whole run makes some 145 calls to the file system.
KINDS = ("call", "failure", "interrupt")
ALL_ALONG = {
    "uninterrupted": [],
    **{f"{KINDS[n // 2 % 3]} {n}": [[KINDS[n // 2 % 3], n]] for n in range(1, 145, 2)},
    **{f"{KINDS[n % 3]} {n} twice": [[KINDS[n % 3], n], ["call", n // 2 + 1]] for n in range(1, 90, 11)},
}


def run_scenarios(out, scenarios):
    """Let runs be killed in processes of their own; returns how many of each scenario were."""
    script = Path(__file__).parents[1] / "killed_run.py"
    done = subprocess.run(
        [sys.executable, str(script), str(out), json.dumps(scenarios)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    """Runs of every scenario, in processes that were killed: the folder of results, the numbers of deaths."""
    out = tmp_path_factory.mktemp("killed")
    return out, run_scenarios(out, KILLS)


def assert_same_end(out, scenario):
    with (
        safe_open(out / "uninterrupted.safetensors", "pt") as expected,
        safe_open(out / f"{scenario}.safetensors", "pt") as found,
    ):
        assert set(found.keys()) == set(expected.keys())
        for key in found.keys():  # noqa: SIM118 (the file is no mapping)
            one, other = found.get_tensor(key), expected.get_tensor(key)
            assert other.any() and (one - other).norm() < 1e-4 * other.norm(), key
        for name, curve in expected.metadata().items():
            pairs = zip(json.loads(found.metadata()[name]), json.loads(curve), strict=True)
            for (step, loss), (expected_step, expected_loss) in pairs:
                assert step == expected_step and loss == pytest.approx(expected_loss, rel=1e-3)


@pytest.mark.parametrize("scenario", [name for name in KILLS if name != "uninterrupted"])
def test_a_killed_run_goes_on_to_the_same_end(killed_runs, scenario):
    out, num_killed = killed_runs
    if scenario != "at any time":
        assert num_killed[scenario] == len(KILLS[scenario])
    assert_same_end(out, scenario)


@pytest.mark.slow
def test_a_run_that_was_killed_or_failed_at_any_call_goes_on_to_the_same_end(tmp_path):
    """Along a whole run, the process is killed, a call to the file system fails, or Ctrl-C comes in it.

    ``test_run_folder`` does each of these at every single call.
    """
    num_stopped = run_scenarios(tmp_path, ALL_ALONG)
    for scenario in ALL_ALONG:
        assert_same_end(tmp_path, scenario)
        if scenario.startswith("call"):
            assert num_stopped[scenario] >= 1
