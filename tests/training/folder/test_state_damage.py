import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lorary.errors import TrainingError
from lorary.training.folder.state_file import SEAL
from tests.training.folder.made_runs import (
    IDENTITY,
    NUM_PARAMETERS,
    assert_same_state,
    load,
    make_trainee,
    open_run,
)


def rewrite_state(folder, change):
    """Change a state as it would be in a file of an earlier version, which has no hash."""
    path = folder.path / "state.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is no mapping)
        metadata = file.metadata()
    del metadata[SEAL]
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def edit_progress(**changes):
    return lambda tensors, metadata: metadata.update(
        sql=json.dumps({**json.loads(metadata["sql"]), **changes})
    )


def put(key, tensor):
    return lambda tensors, metadata: tensors.update({key: tensor})


def rename_expert(name):
    def change(tensors, metadata):
        metadata[name] = metadata.pop("sql")
        for key in [*tensors]:
            tensors[key.replace("sql", name)] = tensors.pop(key)

    return change


def spoil(key, value):
    def change(tensors, metadata):
        tensors[key] = tensors[key].clone()
        tensors[key].view(-1)[0] = value

    return change


STATE_DAMAGE = {
    "no optimiser state": (
        lambda tensors, metadata: [tensors.pop(f"sql/{key}") for key in ("exp_avg", "exp_avg_sq", "step")],
        r"expert 'sql': tensor 'exp_avg' must have shape \[20\], found 'none'",
    ),
    "no second moments": (
        lambda tensors, metadata: tensors.pop("sql/exp_avg_sq"),
        r"tensor 'exp_avg_sq' must have shape \[20\], found 'none'",
    ),
    "no best weights": (
        lambda tensors, metadata: tensors.pop("sql/best_values"),
        r"tensor 'best_values' must have shape \[20\], found 'none'",
    ),
    "no weights": (lambda tensors, metadata: tensors.pop("sql/values"), "'values' must have"),
    "one more tensor": (
        put("sql/momentum", torch.zeros(NUM_PARAMETERS)),
        r"tensor 'momentum' must have shape none, found \[20\]",
    ),
    "weights that would be broadcast": (
        put("sql/values", torch.zeros(1)),
        r"'values' must have shape \[20\], found \[1\]",
    ),
    "weights of a larger model": (put("sql/values", torch.zeros(21)), r"found \[21\]"),
    "another dtype": (
        put("sql/values", torch.zeros(NUM_PARAMETERS, dtype=torch.float64)),
        "must be float32, found 'F64'",
    ),
    "weights that are not numbers": (spoil("sql/values", torch.nan), "'values' must hold finite numbers"),
    "infinite moments": (spoil("sql/exp_avg", torch.inf), "'exp_avg' must hold finite numbers"),
    "negative mean squares": (spoil("sql/exp_avg_sq", -1.0), "mean squares must be at least 0"),
    "another number of steps": (
        spoil("sql/step", 3.0),
        "its optimiser must have taken 2 steps, found 3",
    ),
    "a negative step": (edit_progress(step=-2), "step must be 2 after these losses, found -2"),
    "a step beyond the plan": (
        edit_progress(step=4, train_curve=[[n, 1.0] for n in range(1, 5)]),
        "train_curve must end by step 3, found step 4",
    ),
    "a best step to come": (edit_progress(best_step=3), "best_step must be 2"),
    "finished too early": (edit_progress(is_finished=True), "is_finished must be False"),
    "a loss that is text": (edit_progress(train_curve=[[1, "2.5"], [2, 2.0]]), "train_curve must be a list"),
    "an unknown number": (edit_progress(momentum=1), "'momentum' is unknown or missing"),
    "an expert of another run": (
        rename_expert("prose"),
        "has an expert 'prose', which is not one of this run",
    ),
    "a name that is a path": (rename_expert("../sql"), "which is not one of this run"),
    "no expert": (lambda tensors, metadata: metadata.clear(), "must belong to an expert with progress"),
    "an expert without tensors": (
        lambda tensors, metadata: metadata.update(law=metadata["sql"]),
        "expert 'law' must have tensors",
    ),
}


@pytest.mark.parametrize("damage", STATE_DAMAGE)
def test_a_state_that_cannot_be_this_runs_is_refused_even_without_a_hash(folder, damage):
    change, fault = STATE_DAMAGE[damage]
    folder.save_state({"sql": make_trainee()})
    rewrite_state(folder, change)
    message = (
        rf"the saved state '.*state\.safetensors' is damaged \(.*{fault}.*\): delete it to train its experts"
    )
    with pytest.raises(TrainingError, match=message) as error:
        load(open_run(folder.path, IDENTITY))
    assert len(str(error.value)) < 1000


def test_a_state_of_an_earlier_version_is_taken_up(folder):
    state = {"sql": make_trainee(), "law": make_trainee(0)}
    folder.save_state(state)
    rewrite_state(folder, lambda tensors, metadata: None)
    assert_same_state(load(open_run(folder.path, IDENTITY)), state)


def test_a_state_that_says_not_which_run_it_is_of_is_refused_where_nothing_else_does(folder):
    folder.save_state({"sql": make_trainee()})
    rewrite_state(folder, lambda tensors, metadata: None)
    (folder.path / "run.json").unlink()
    with pytest.raises(TrainingError, match=r"its run is not known, because run\.json was missing"):
        load(open_run(folder.path, IDENTITY))


def test_more_experts_than_slots_are_refused(folder):
    folder.save_state({name: make_trainee() for name in ("poetry", "sql", "law")})
    with pytest.raises(TrainingError, match="it must have at most 2 experts, the number of slots, found 3"):
        load(folder)
