import errno
import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lorary.errors import LoraryError, TrainingError
from lorary.experts import Expert, ExpertCard, Factors
from lorary.training import Progress, TrainConfig, state_file
from lorary.training.config import keep_effective
from lorary.training.finished import ExpectedExpert
from lorary.training.progress import Plan
from lorary.training.run_folder import RunFolder, count_finished
from lorary.training.state_file import SEAL

CONFIG = TrainConfig(rank=2, alpha=4, max_steps=3, validate_every=2)
IDENTITY = {
    "configuration": json.loads(json.dumps(keep_effective(asdict(CONFIG)))),
    "base model": "abc",
    "examples": {"poetry": "1", "sql": "1"},
}
PLAN = Plan(tokens=(10, 10, 20), validate_every=2)
NUM_PARAMETERS = 20
NAMES = ("poetry", "sql", "law", "poetry v1.2")


def make_progress(num_steps=3):
    progress = Progress()
    for loss, num_tokens in zip([2.5, 2.0, 1.25][:num_steps], PLAN.tokens, strict=False):
        progress.record_step(loss, num_tokens, PLAN)
        if PLAN.is_due(progress.step):
            progress.record_validation(loss + 0.25, PLAN)
    return progress


def make_trainee(num_steps=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tensors = {"values": torch.randn(NUM_PARAMETERS, generator=generator)}
    if num_steps:
        tensors["exp_avg"] = torch.randn(NUM_PARAMETERS, generator=generator)
        tensors["exp_avg_sq"] = torch.rand(NUM_PARAMETERS, generator=generator)
        tensors["step"] = torch.tensor(float(num_steps))
    progress = make_progress(num_steps)
    if progress.best_step is not None:
        tensors["best_values"] = torch.randn(NUM_PARAMETERS, generator=generator)
    return tensors, progress


def make_expert(name="poetry", seed=0, rank=2, **changes):
    generator = torch.Generator().manual_seed(seed)
    factors = {
        "model.q_proj": Factors(
            torch.randn(rank, 6, generator=generator), torch.randn(4, rank, generator=generator)
        )
    }
    provenance = {"training": asdict(CONFIG), "data": {"digest": "1"}, "steps": 3, **changes}
    card = ExpertCard(tasks=("rhymes",), base_fingerprint="abc", provenance=provenance)
    return Expert(name, "org/base", factors, card)


def expect(name="poetry", **changes):
    settings = {
        "name": name,
        "shapes": {"model.q_proj": ((2, 6), (4, 2))},
        "base_fingerprint": "abc",
        "data_digest": "1",
        "config": CONFIG,
        "plan": PLAN,
    }
    return ExpectedExpert(**{**settings, **changes})


def load(folder):
    return folder.load_state(dict.fromkeys(NAMES, PLAN), num_parameters=NUM_PARAMETERS, num_slots=2)


def assert_same_state(found, expected):
    assert found.keys() == expected.keys()
    for name, (tensors, progress) in expected.items():
        assert found[name][1] == progress
        assert found[name][0].keys() == tensors.keys()
        assert all(torch.equal(found[name][0][key], tensors[key]) for key in tensors)


def assert_same_expert(found, expected):
    assert (found.name, found.base_model, found.card) == (expected.name, expected.base_model, expected.card)
    for one, other in zip(found.factors["model.q_proj"], expected.factors["model.q_proj"], strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", IDENTITY)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with a file of somebody else's."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    return place


def test_a_saved_state_comes_back_bit_for_bit(folder):
    state = {"poetry v1.2": make_trainee(2), "sql": make_trainee(0, seed=1)}
    folder.save_state(state)
    assert_same_state(load(folder), state)
    assert_same_state(load(RunFolder(folder.path, IDENTITY)), state)


def test_a_finished_expert_comes_back_with_its_curves(folder):
    assert folder.finished(expect()) is None
    folder.finish(make_expert(), make_progress())
    for opened in (folder, RunFolder(folder.path, IDENTITY)):
        found, progress = opened.finished(expect())
        assert progress == make_progress()
        assert_same_expert(found, make_expert())
    assert count_finished(folder.path, ["poetry", "sql"]) == 1


def test_an_expert_is_finished_only_when_its_record_is_there(folder):
    """A killed run of an earlier version may have written weights without a record."""
    folder.finish(make_expert(), make_progress())
    (folder.path / "finished/poetry/progress.json").unlink()
    assert folder.finished(expect()) is None
    folder.finish(make_expert(), make_progress())
    assert folder.finished(expect()) is not None


def test_a_folder_without_state_has_nothing_to_take_up(folder):
    assert load(folder) == {}


def test_saving_replaces_what_was_saved_and_leaves_nothing_else(folder):
    for name in ("poetry", "sql"):
        folder.save_state({name: make_trainee()})
    assert load(folder).keys() == {"sql"}
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "state.safetensors", "finished"}


def test_a_state_of_nobody_is_no_state(folder):
    """Guards a bug: safetensors wrote an empty file that nothing could read again."""
    folder.save_state({"sql": make_trainee()})
    folder.save_state({})
    assert load(folder) == {}
    assert not (folder.path / "state.safetensors").exists()


def test_the_same_run_may_come_back(folder):
    RunFolder(folder.path, json.loads(json.dumps(IDENTITY)))


def test_a_fresh_run_throws_away_the_old_one(folder):
    folder.finish(make_expert(), make_progress())
    folder.save_state({"sql": make_trainee()})
    (folder.path / "notes.txt").write_text("mine")
    fresh = RunFolder(folder.path, {"configuration": {}}, fresh=True)
    assert fresh.finished(expect()) is None and load(fresh) == {}
    assert (folder.path / "notes.txt").read_text() == "mine"


def test_what_a_killed_run_was_writing_is_swept_away(folder):
    for parent in (folder.path, folder.path / "finished"):
        (parent / ".lorary-a").write_text("half a file")
        (parent / ".lorary-b").mkdir()
        (parent / ".lorary-b" / "half").write_text("half a folder")
    RunFolder(folder.path, IDENTITY)
    assert {path.name for path in folder.path.rglob("*")} == {"run.json", "finished"}


def test_another_run_is_refused_with_what_differs(folder):
    other = {
        "configuration": {**IDENTITY["configuration"], "rank": 4},
        "base model": "abd",
        "examples": {"law": "1", "sql": "1"},
    }
    with pytest.raises(TrainingError) as error:
        RunFolder(folder.path, other)
    assert str(error.value) == (
        f"{str(folder.path)!r} holds another run, which differs in base model ('abc' there, 'abd' here); "
        "configuration rank (2 there, 4 here); examples law (None there, '1' here); "
        "examples poetry ('1' there, None here): take another folder, or start over with fresh=True (--fresh)"
    )


def test_of_many_differences_a_few_are_named(folder):
    other = {**IDENTITY, "examples": {f"{'x' * 100} {number}": "1" for number in range(50)}}
    with pytest.raises(TrainingError, match="and 48 more: take another folder") as error:
        RunFolder(folder.path, other)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b'{"configuration": ',
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b'{"a": ' + b"9" * 10**6 + b"}",
        b'{"a": "\\ud800"}',
        b'"' + b"x" * 17_000_000 + b'"',
    ],
    ids=lambda content: str(content[:12]),
)
def test_a_damaged_identity_is_refused(folder, content):
    (folder.path / "run.json").write_bytes(content)
    message = r"run\.json' is damaged \(.+\): start over with fresh=True"
    with pytest.raises(TrainingError, match=message) as error:
        RunFolder(folder.path, IDENTITY)
    assert len(str(error.value)) < 1000
    RunFolder(folder.path, IDENTITY, fresh=True)


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
        "its optimiser has taken 3 steps, its progress says 2",
    ),
    "a negative step": (edit_progress(step=-2), "step must be 2 after these losses, found -2"),
    "a step beyond the plan": (
        edit_progress(step=4, train_curve=[[n, 1.0] for n in range(1, 5)]),
        "train_curve must end by step 3, found step 4",
    ),
    "a best step to come": (edit_progress(best_step=3), "best_step must be 2"),
    "finished too early": (edit_progress(is_finished=True), "is_finished must be False"),
    "a loss that is text": (edit_progress(train_curve=[[1, "2.5"], [2, 2.0]]), "train_curve must be a list"),
    "an unknown number": (edit_progress(momentum=1), "'momentum' is new or missing"),
    "an expert of another run": (rename_expert("prose"), "has an expert 'prose', which is not of this run"),
    "a name that is a path": (rename_expert("../sql"), "which is not of this run"),
    "no expert": (lambda tensors, metadata: metadata.clear(), "is of no expert that it names"),
    "an expert without tensors": (
        lambda tensors, metadata: metadata.update(law=metadata["sql"]),
        "expert 'law' has no tensors",
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
        load(RunFolder(folder.path, IDENTITY))
    assert len(str(error.value)) < 1000


def test_a_state_of_an_earlier_version_is_taken_up(folder):
    state = {"sql": make_trainee(), "law": make_trainee(0)}
    folder.save_state(state)
    rewrite_state(folder, lambda tensors, metadata: None)
    assert_same_state(load(RunFolder(folder.path, IDENTITY)), state)


def test_a_state_that_says_not_which_run_it_is_of_is_refused_where_nothing_else_does(folder):
    folder.save_state({"sql": make_trainee()})
    rewrite_state(folder, lambda tensors, metadata: None)
    (folder.path / "run.json").unlink()
    with pytest.raises(TrainingError, match=r"nothing says which run it is of: run\.json was missing"):
        load(RunFolder(folder.path, IDENTITY))


def test_a_state_and_an_expert_of_another_run_are_refused(folder, tmp_path):
    other = RunFolder(tmp_path / "other", {**IDENTITY, "base model": "abd"})
    other.save_state({"sql": make_trainee()})
    other.finish(make_expert(), make_progress())
    os.replace(other.path / "state.safetensors", folder.path / "state.safetensors")
    os.replace(other.path / "finished/poetry", folder.path / "finished/poetry")
    with pytest.raises(TrainingError, match=r"is damaged \(it is of another run\): delete it"):
        load(folder)
    with pytest.raises(TrainingError, match=r"finished/poetry' is damaged \(it is of another run\): delete"):
        folder.finished(expect())


def test_more_experts_than_slots_are_refused(folder):
    folder.save_state({name: make_trainee() for name in ("poetry", "sql", "law")})
    with pytest.raises(TrainingError, match="it has 3 experts, this run trains 2 at a time"):
        load(folder)


def make_old(place):
    """Make a finished expert's record what earlier versions wrote."""
    record = json.loads((place / "progress.json").read_text())
    for key in ("expert", "run", "files", "sha256"):
        del record[key]
    (place / "progress.json").write_text(json.dumps(record))


def test_a_finished_expert_of_an_earlier_version_is_taken_up(folder):
    folder.finish(make_expert(), make_progress())
    make_old(folder.path / "finished/poetry")
    found, progress = folder.finished(expect())
    assert progress == make_progress()
    assert_same_expert(found, make_expert())


def edit_json(file, /, **changes):
    def damage(place):
        path = place / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def flip_a_bit(name, place_in_file=-1):
    def damage(place):
        content = bytearray((place / name).read_bytes())
        content[place_in_file] ^= 1
        (place / name).write_bytes(content)

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
        "SHA-256 differs|another alpha|is not what",
    ),
    "another rank": (edit_json("adapter_config.json", r=4), "SHA-256 differs|says rank 4"),
    "another expert's name": (edit_json("expert.json", name="sql"), "SHA-256 differs|of expert 'sql'"),
    "another base model": (
        edit_json("expert.json", base_fingerprint="abd"),
        "SHA-256 differs|it is of base model 'abd', not 'abc'",
    ),
    "other examples": (
        edit_provenance(data={"digest": "2"}),
        "SHA-256 differs|it was trained on other examples",
    ),
    "data of another type": (edit_provenance(data=["1"]), "SHA-256 differs|other examples"),
    "another configuration": (
        edit_provenance(training={**asdict(CONFIG), "alpha": 16}),
        "SHA-256 differs|trained with another configuration",
    ),
    "a configuration of another type": (edit_provenance(training=7), "SHA-256 differs|another configuration"),
    "another number of steps": (edit_provenance(steps=2), "SHA-256 differs|which is not when its training"),
    "a record of nothing": (lambda place: (place / "progress.json").write_text(""), "must be a JSON file"),
    "a record that is a list": (lambda place: (place / "progress.json").write_text("[]"), "a JSON object"),
    "a negative step": (edit_json("progress.json", step=-1), "SHA-256 differs|step must be 3"),
    "an unfinished record": (
        edit_json("progress.json", **asdict(make_progress(2))),
        "SHA-256 differs|says 2 steps, which is not when its training ended",
    ),
    "a loss that is NaN": (
        edit_json("progress.json", train_curve=[[1, 2.5], [2, float("nan")], [3, 1.25]]),
        "NaN is no JSON number",
    ),
    "no curve": (edit_json("progress.json", train_curve=None), "SHA-256 differs|must be a list"),
}


@pytest.mark.parametrize("is_old", [False, True], ids=["hashed", "of an earlier version"])
@pytest.mark.parametrize("damage", FOLDER_DAMAGE)
def test_a_finished_expert_that_was_altered_is_refused_by_name(folder, damage, is_old):
    """Guards a harm: resuming gave whatever lay there, with any alpha, as the run's own expert."""
    change, fault = FOLDER_DAMAGE[damage]
    folder.finish(make_expert(), make_progress())
    place = folder.path / "finished/poetry"
    if is_old:
        make_old(place)
    change(place)
    with pytest.raises(TrainingError) as error:
        folder.finished(expect())
    message = str(error.value)
    assert message.startswith(f"{str(place)!r} is damaged (") and len(message) < 1000
    assert "delete this folder to train expert 'poetry' again (the others are kept)" in message
    assert any(part in message for part in fault.split("|"))


def test_an_edited_loss_is_noticed(folder):
    folder.finish(make_expert(), make_progress())
    path = folder.path / "finished/poetry/progress.json"
    path.write_text(path.read_text().replace("2.25", "2.24"))
    with pytest.raises(TrainingError, match=r"progress\.json does not say what was written"):
        folder.finished(expect())


@pytest.mark.parametrize("is_old", [False, True])
def test_the_folder_of_another_expert_is_refused(folder, is_old):
    """Guards a harm: an expert's folder under another's name was given as that other expert."""
    folder.finish(make_expert("sql", seed=1), make_progress())
    place = folder.path / "finished/sql"
    if is_old:
        make_old(place)
    place.rename(folder.path / "finished/poetry")
    with pytest.raises(TrainingError, match="it is the folder of expert 'sql', not of 'poetry'"):
        folder.finished(expect())
    assert folder.finished(expect("sql")) is None


def test_modules_of_other_shapes_are_refused(folder):
    folder.finish(make_expert(), make_progress())
    other = expect(shapes={"model.q_proj": ((2, 6), (5, 2)), "model.v_proj": ((2, 6), (4, 2))})
    message = (
        r"2 of its modules are not this run's, such as 'model\.q_proj': its factors are "
        r"\(\(2, 6\), \(4, 2\)\), must be \(\(2, 6\), \(5, 2\)\)"
    )
    with pytest.raises(TrainingError, match=message):
        folder.finished(other)
    folder.finish(make_expert("sql", rank=3), make_progress())
    with pytest.raises(TrainingError, match=r"\(\(3, 6\), \(4, 3\)\), must be \(\(2, 6\), \(4, 2\)\)"):
        folder.finished(expect("sql"))


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "expert.json"])
def test_whichever_byte_of_a_finished_expert_changes_it_is_found(folder, name):
    folder.finish(make_expert(), make_progress())
    size = (folder.path / "finished/poetry" / name).stat().st_size
    for place in range(0, size, 13):
        flip_a_bit(name, place)(folder.path / "finished/poetry")
        with pytest.raises(TrainingError, match="delete this folder to train expert 'poetry' again"):
            folder.finished(expect())
        flip_a_bit(name, place)(folder.path / "finished/poetry")
    assert_same_expert(folder.finished(expect())[0], make_expert())


def test_whichever_byte_of_a_record_changes_it_is_found_or_means_nothing(folder):
    folder.finish(make_expert(), make_progress())
    size = (folder.path / "finished/poetry/progress.json").stat().st_size
    for place in range(size):
        flip_a_bit("progress.json", place)(folder.path / "finished/poetry")
        try:
            _, progress = folder.finished(expect())
        except TrainingError as error:
            assert "delete this folder" in str(error)  # noqa: PT017 (either answer may be right)
        else:
            assert progress == make_progress()
        flip_a_bit("progress.json", place)(folder.path / "finished/poetry")


@pytest.mark.parametrize("name", ["../sql", "a/b", "..", "", ".hidden"])
def test_a_name_that_is_a_path_leads_nowhere(folder, name):
    with pytest.raises(ValueError, match="an expert's name must not"):
        folder.finished(expect(name))
    with pytest.raises(ValueError, match="an expert's name must not"):
        count_finished(folder.path, [name])


# Links and special files


def put_link(path, target):
    path.symlink_to(target)


def put_pipe(path, target):
    os.mkfifo(path)


def put_folder(path, target):
    path.mkdir()


@pytest.mark.parametrize("put_there", [put_link, put_pipe, put_folder])
@pytest.mark.parametrize(
    "part", ["run.json", "state.safetensors", "finished/poetry/progress.json", "finished/poetry/expert.json"]
)
def test_what_is_no_file_of_its_own_is_refused_and_never_waited_for(folder, elsewhere, part, put_there):
    folder.finish(make_expert(), make_progress())
    folder.save_state({"sql": make_trainee()})
    path = folder.path / part
    os.replace(path, elsewhere / "target")
    put_there(path, elsewhere / "target")
    with pytest.raises(TrainingError, match="is damaged"):
        read(folder.path)
    assert (elsewhere / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("part", ["finished", "finished/poetry"])
def test_a_link_in_place_of_a_folder_is_refused_and_its_target_stays(folder, elsewhere, part):
    folder.finish(make_expert(), make_progress())
    os.replace(folder.path / part, elsewhere / "target")
    (folder.path / part).symlink_to(elsewhere / "target")
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(TrainingError, match=rf"{part}' is damaged \(it is a symbolic link, and inside a run"):
        RunFolder(folder.path, IDENTITY).finished(expect())
    assert sorted(elsewhere.rglob("*")) == before
    fresh = RunFolder(folder.path, IDENTITY, fresh=True)
    assert sorted(elsewhere.rglob("*")) == before
    assert fresh.finished(expect()) is None and (folder.path / "finished").is_dir()


@pytest.mark.parametrize("part", ["finished", "state.safetensors", "run.json"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_starting_over_removes_links_and_never_what_they_point_to(folder, elsewhere, part, is_folder):
    path = folder.path / part
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere if is_folder else elsewhere / "mine.txt")
    RunFolder(folder.path, IDENTITY, fresh=True)
    assert [file.name for file in elsewhere.iterdir()] == ["mine.txt"]
    assert (elsewhere / "mine.txt").read_text() == "mine"


def test_writing_replaces_links_and_never_what_they_point_to(folder, elsewhere):
    for path in (folder.path / "state.safetensors", folder.path / "finished/poetry"):
        path.symlink_to(elsewhere / "mine.txt")
    folder.save_state({"sql": make_trainee()})
    folder.finish(make_expert(), make_progress())
    assert (elsewhere / "mine.txt").read_text() == "mine"
    assert not (folder.path / "state.safetensors").is_symlink()
    assert not (folder.path / "finished/poetry").is_symlink()


def test_a_link_to_a_whole_run_folder_is_the_users_own(folder, tmp_path):
    folder.save_state({"sql": make_trainee()})
    (tmp_path / "shortcut").symlink_to(folder.path)
    assert load(RunFolder(tmp_path / "shortcut", IDENTITY)).keys() == {"sql"}


def test_finished_experts_are_counted_without_reading_them(folder, tmp_path):
    assert count_finished(tmp_path / "nothing", ["sql"]) is None
    assert count_finished(folder.path, ["poetry", "sql"]) == 0
    (folder.path / "finished").rmdir()
    (folder.path / "finished").write_text("a file")
    assert count_finished(folder.path, ["poetry", "sql"]) == 0


# Failures and kills


@pytest.mark.parametrize("error", [OSError("no space left"), SafetensorError("no space left")], ids=repr)
@pytest.mark.parametrize("step", ["save_file", "publish"])
def test_a_full_disk_is_reported_and_the_old_state_stays(folder, monkeypatch, step, error):
    folder.save_state({"sql": make_trainee()})

    def fail(tensors, path, *args, **options):
        if step == "save_file":
            path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(state_file, step, fail)
    message = r"cannot save the run's state \(4 MB\) in '.+': no space left\. The state saved before is whole"
    with pytest.raises(TrainingError, match=message):
        folder.save_state({"sql": ({"values": torch.zeros(1_000_000)}, Progress())})
    monkeypatch.undo()
    assert_same_state(load(folder), {"sql": make_trainee()})
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "state.safetensors", "finished"}


def start(folder):
    return RunFolder(folder, IDENTITY)


def start_over(folder):
    return RunFolder(folder, IDENTITY, fresh=True)


def save(folder):
    RunFolder(folder, IDENTITY).save_state({"sql": make_trainee(2, seed=5)})


def clear(folder):
    RunFolder(folder, IDENTITY).save_state({})


def finish(folder):
    RunFolder(folder, IDENTITY).finish(make_expert("sql", seed=5), make_progress())


def read(folder):
    opened = RunFolder(folder, IDENTITY)
    return load(opened), opened.finished(expect())


def prepare(path):
    """A run with a finished expert, and another in training."""
    folder = RunFolder(path, IDENTITY)
    folder.save_state({"sql": make_trainee(1)})
    folder.finish(make_expert(), make_progress())
    return path


def assert_whole(path):
    """Assert that what a resumed run finds is what was there before, or what was being written."""
    opened = RunFolder(path, IDENTITY)
    state = load(opened)
    if state:
        number = state["sql"][1].step
        assert_same_state(state, {"sql": make_trainee(number, seed=5 if number == 2 else 0)})
    for name, seed in (("poetry", 0), ("sql", 5)):
        found = opened.finished(expect(name))
        if found is not None:
            assert_same_expert(found[0], make_expert(name, seed))
    assert not list(path.rglob(".lorary-*"))


WORK = [start, start_over, save, clear, finish, read]
FAILURES = {
    "EIO": OSError(errno.EIO, os.strerror(errno.EIO)),
    "EACCES": PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    "Ctrl-C": KeyboardInterrupt(),
}


def count_calls(at_call, work, path):
    with at_call(0, None, path) as seen:
        work(path)
    return len(seen)


def fail_with(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_after_a_failure_at_any_call_the_run_goes_on(tmp_path, at_call, work, failure):
    num_calls = count_calls(at_call, work, prepare(tmp_path / "counted"))
    assert num_calls >= 5
    for number in range(1, num_calls + 1):
        path = prepare(tmp_path / str(number))
        with at_call(number, fail_with(FAILURES[failure]), path) as seen:
            try:
                work(path)
            except (LoraryError, OSError, KeyboardInterrupt) as error:
                assert len(str(error)) < 1000  # noqa: PT017 (some failures do no harm)
        assert len(seen) >= number
        assert_whole(path)
        if work is not start_over:
            assert RunFolder(path, IDENTITY).finished(expect()) is not None
        if work in (start, finish, read):
            assert_same_state(load(RunFolder(path, IDENTITY)), {"sql": make_trainee(1)})


def test_a_failing_read_is_no_missing_file(tmp_path, at_call):
    """Guards a harm: a file that cannot be looked at was taken for one that is not there."""
    num_calls = count_calls(at_call, read, prepare(tmp_path / "counted"))
    for number in range(1, num_calls + 1):
        path = prepare(tmp_path / str(number))
        with at_call(number, fail_with(FAILURES["EIO"]), path):
            try:
                state, finished = read(path)
            except TrainingError:
                continue
        assert state.keys() == {"sql"} and finished is not None


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_after_a_kill_at_any_call_the_run_goes_on(tmp_path, at_call, work):
    num_calls = count_calls(at_call, work, prepare(tmp_path / "counted"))
    for number in range(1, num_calls + 1):
        path = prepare(tmp_path / str(number))
        child = os.fork()
        if child == 0:
            with at_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL), path):
                work(path)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert_whole(path)
        if work is not start_over:
            assert RunFolder(path, IDENTITY).finished(expect()) is not None


def test_a_kill_between_removing_and_starting_over_leaves_no_half(tmp_path, at_call):
    """Guards a harm: what was left of a run that was being thrown away was taken up by another."""
    path = prepare(tmp_path / "run")
    other = {**IDENTITY, "base model": "abd"}
    num_calls = 40
    for number in range(1, num_calls):
        with at_call(number, fail_with(KeyboardInterrupt()), path) as seen:
            try:
                RunFolder(path, other, fresh=True)
            except KeyboardInterrupt:
                pass
            else:
                break
        assert len(seen) >= number
        try:
            opened = RunFolder(Path(path), other)
        except TrainingError as error:
            assert "holds another run" in str(error)  # noqa: PT017
        else:
            assert load(opened) == {} and opened.finished(expect()) is None
    else:
        pytest.fail("starting over must end")
