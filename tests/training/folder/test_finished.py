import json
import os
from dataclasses import asdict

import pytest

from lorary.errors import TrainingError
from lorary.training.folder.run_folder import count_finished
from tests.training.folder.made_runs import (
    CONFIG,
    IDENTITY,
    assert_same_expert,
    find_finished,
    flip_a_bit,
    keep,
    load,
    make_expert,
    make_old,
    make_progress,
    make_trainee,
    open_run,
)


def test_a_finished_expert_comes_back_with_its_curves(folder):
    assert find_finished(folder) is None
    keep(folder, make_expert(), make_progress())
    for opened in (folder, open_run(folder.path, IDENTITY)):
        found, progress = find_finished(opened)
        assert progress == make_progress()
        assert_same_expert(found, make_expert())
    assert count_finished(folder.path, ["poetry", "sql"]) == 1


def test_an_expert_is_finished_only_when_its_record_is_there(folder):
    """A killed run of an earlier version may have written weights without a record."""
    keep(folder, make_expert(), make_progress())
    (folder.path / "finished/poetry/progress.json").unlink()
    assert find_finished(folder) is None
    keep(folder, make_expert(), make_progress())
    assert find_finished(folder) is not None


def test_a_state_and_an_expert_of_another_run_are_refused(folder, tmp_path):
    other = open_run(tmp_path / "other", {**IDENTITY, "base model": "abd"})
    other.save_state({"sql": make_trainee()})
    keep(other, make_expert(), make_progress())
    os.replace(other.path / "state.safetensors", folder.path / "state.safetensors")
    os.replace(other.path / "finished/poetry", folder.path / "finished/poetry")
    with pytest.raises(TrainingError, match=r"is damaged \(it belongs to another run\): delete it"):
        load(folder)
    with pytest.raises(
        TrainingError, match=r"finished/poetry' is damaged \(it belongs to another run\): delete"
    ):
        find_finished(folder)


def test_a_finished_expert_of_an_earlier_version_is_taken_up(folder):
    keep(folder, make_expert(), make_progress())
    make_old(folder.path / "finished/poetry")
    found, progress = find_finished(folder)
    assert progress == make_progress()
    assert_same_expert(found, make_expert())


def edit_json(file, /, **changes):
    def damage(place):
        path = place / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def edit_provenance(**changes):
    def damage(place):
        path = place / "expert.json"
        card = json.loads(path.read_text())
        card["provenance"].update(changes)
        path.write_text(json.dumps(card))

    return damage


FOLDER_DAMAGE = {
    "a flipped bit in the weights": (flip_a_bit("adapter_model.safetensors"), "SHA-256 differs"),
    "no weights": (
        lambda place: (place / "adapter_model.safetensors").unlink(),
        "adapter_model.safetensors is missing",
    ),
    "no configuration": (
        lambda place: (place / "adapter_config.json").unlink(),
        "adapter_config.json is missing",
    ),
    "no card": (lambda place: (place / "expert.json").unlink(), "expert.json is missing"),
    "another alpha": (
        edit_json("adapter_config.json", lora_alpha=64),
        "SHA-256 differs|another alpha|has changed since it was stored",
    ),
    "another rank": (edit_json("adapter_config.json", r=4), "SHA-256 differs|rank must be"),
    "another expert's name": (
        edit_json("expert.json", name="sql"),
        "SHA-256 differs|must be 'poetry'",
    ),
    "another base model": (
        edit_json("expert.json", base_fingerprint="abd"),
        "SHA-256 differs|its base model must have fingerprint 'abc', found 'abd'",
    ),
    "other examples": (
        edit_provenance(data={"digest": "2"}),
        "SHA-256 differs|it was trained on other examples",
    ),
    "data of another type": (edit_provenance(data=["1"]), "SHA-256 differs|other examples"),
    "another configuration": (
        edit_provenance(training={**asdict(CONFIG), "alpha": 16}),
        "SHA-256 differs|trained with other settings",
    ),
    "a configuration of another type": (edit_provenance(training=7), "SHA-256 differs|other settings"),
    "another number of steps": (edit_provenance(steps=2), "SHA-256 differs|ended after another number"),
    "a record of nothing": (lambda place: (place / "progress.json").write_text(""), "must be a JSON file"),
    "a record that is a list": (lambda place: (place / "progress.json").write_text("[]"), "a JSON object"),
    "a negative step": (edit_json("progress.json", step=-1), "SHA-256 differs|step must be 3"),
    "an unfinished record": (
        edit_json("progress.json", **asdict(make_progress(2))),
        "SHA-256 differs|has 2 steps, which do not complete",
    ),
    "a loss that is NaN": (
        edit_json("progress.json", train_curve=[[1, 2.5], [2, float("nan")], [3, 1.25]]),
        "NaN is not a JSON number",
    ),
    "no curve": (edit_json("progress.json", train_curve=None), "SHA-256 differs|must be a list"),
}


@pytest.mark.parametrize("is_old", [False, True], ids=["hashed", "of an earlier version"])
@pytest.mark.parametrize("damage", FOLDER_DAMAGE)
def test_a_finished_expert_that_was_altered_is_refused_by_name(folder, damage, is_old):
    """Guards a harm: resuming gave whatever lay there, with any alpha, as the run's own expert."""
    change, fault = FOLDER_DAMAGE[damage]
    keep(folder, make_expert(), make_progress())
    place = folder.path / "finished/poetry"
    if is_old:
        make_old(place)
    change(place)
    with pytest.raises(TrainingError) as error:
        find_finished(folder)
    message = str(error.value)
    assert message.startswith(f"{str(place)!r} is damaged (") and len(message) < 1000
    assert "delete this folder to train expert 'poetry' again (other experts are kept)" in message
    assert any(part in message for part in fault.split("|"))


def test_an_edited_loss_is_noticed(folder):
    keep(folder, make_expert(), make_progress())
    path = folder.path / "finished/poetry/progress.json"
    path.write_text(path.read_text().replace("2.25", "2.24"))
    with pytest.raises(TrainingError, match=r"progress\.json was changed after it was written"):
        find_finished(folder)


@pytest.mark.parametrize("is_old", [False, True])
def test_the_folder_of_another_expert_is_refused(folder, is_old):
    """Guards a harm: an expert's folder under another's name was given as that other expert."""
    keep(folder, make_expert("sql", seed=1), make_progress())
    place = folder.path / "finished/sql"
    if is_old:
        make_old(place)
    place.rename(folder.path / "finished/poetry")
    with pytest.raises(TrainingError, match="its expert must be 'poetry', found 'sql'"):
        find_finished(folder)
    assert find_finished(folder, "sql") is None


def test_modules_of_other_shapes_are_refused(folder):
    keep(folder, make_expert(), make_progress())
    other = {"model.q_proj": ((2, 6), (5, 2)), "model.v_proj": ((2, 6), (4, 2))}
    message = (
        r"2 of its modules differ from this run's, such as 'model\.q_proj': the shapes of "
        r"factors must be \(\(2, 6\), \(5, 2\)\), found \(\(2, 6\), \(4, 2\)\)"
    )
    with pytest.raises(TrainingError, match=message):
        find_finished(folder, shapes=other)
    keep(folder, make_expert("sql", rank=3), make_progress())
    with pytest.raises(TrainingError, match=r"must be \(\(2, 6\), \(4, 2\)\), found \(\(3, 6\), \(4, 3\)\)"):
        find_finished(folder, "sql")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "expert.json"])
def test_whichever_byte_of_a_finished_expert_changes_it_is_found(folder, name):
    keep(folder, make_expert(), make_progress())
    size = (folder.path / "finished/poetry" / name).stat().st_size
    for place in range(0, size, 13):
        flip_a_bit(name, place)(folder.path / "finished/poetry")
        with pytest.raises(TrainingError, match="delete this folder to train expert 'poetry' again"):
            find_finished(folder)
        flip_a_bit(name, place)(folder.path / "finished/poetry")
    assert_same_expert(find_finished(folder)[0], make_expert())


def test_whichever_byte_of_a_record_changes_it_is_found_or_means_nothing(folder):
    keep(folder, make_expert(), make_progress())
    size = (folder.path / "finished/poetry/progress.json").stat().st_size
    for place in range(size):
        flip_a_bit("progress.json", place)(folder.path / "finished/poetry")
        try:
            _, progress = find_finished(folder)
        except TrainingError as error:
            assert "delete this folder" in str(error)  # noqa: PT017 (either answer may be right)
        else:
            assert progress == make_progress()
        flip_a_bit("progress.json", place)(folder.path / "finished/poetry")


@pytest.mark.parametrize("name", ["../sql", "a/b", "..", "", ".hidden"])
def test_a_name_that_is_a_path_leads_nowhere(folder, name):
    with pytest.raises(ValueError, match="an expert's name must not"):
        find_finished(folder, name)
    with pytest.raises(ValueError, match="an expert's name must not"):
        count_finished(folder.path, [name])
