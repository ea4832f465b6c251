"""Folders of saved models that others changed: whatever does not fit is refused by name, and nothing runs."""

import json
import os
import shutil
from hashlib import sha256
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorary.assembly import load_model
from lorary.assembly.saved_model import is_saved_model, read_material, read_saved_model
from lorary.errors import FormatError, LoraryError

MODEL_FILE = "lorary_model.json"


def read_json(place):
    return json.loads((place / MODEL_FILE).read_text())


def write_json(place, **changes):
    """Change what the file says, and leave out its hash, as its author could."""
    content = {**read_json(place), **changes}
    content.pop("sha256", None)
    (place / MODEL_FILE).write_text(json.dumps(content))


def list_files(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_every_file_but_the_list_itself_has_a_hash(place):
    said = read_json(place)["files"]
    left_out = set(list_files(place)) - said.keys() - {MODEL_FILE}
    assert all(name.startswith("experts/.lorary/") and "artifacts" not in name for name in left_out)
    assert any("artifacts" in name for name in said) and "base/model.safetensors" in said


def test_a_bit_that_flips_in_any_file_is_refused_by_name(place):
    """Guards a bug: `lora_alpha` 8 -> 64 loaded, with other logits."""
    for name in read_json(place)["files"]:
        path = place / name
        content = path.read_bytes()
        path.write_bytes(bytes([*content[:-1], content[-1] ^ 1]))
        with pytest.raises(LoraryError, match=path.name if "artifacts" in name else path.parent.name):
            load_model(str(place))
        path.write_bytes(content)
    load_model(str(place))


def test_a_bit_that_flips_in_the_list_itself_is_refused(place):
    """Guards a silent change: a router's temperature loaded with one bit flipped."""
    path = place / MODEL_FILE
    content = path.read_bytes()
    # A byte of white space is as good as another.
    places = [index for index, byte in enumerate(content) if not bytes([byte]).isspace()]
    for index in places[::7]:
        path.write_bytes(bytes([*content[:index], content[index] ^ 1, *content[index + 1 :]]))
        with pytest.raises(FormatError):
            read_saved_model(place)
    path.write_bytes(content)
    assert read_saved_model(place).router is not None


def test_another_alpha_is_refused(place):
    path = place / "experts" / "dates" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "lora_alpha": 8 * config["lora_alpha"]}))
    with pytest.raises(FormatError, match=r"dates/adapter_config\.json.* has changed since it was stored"):
        load_model(str(place))


@pytest.mark.parametrize("name", ["base/config.json", "README.md", "experts/dates/adapter_config.json"])
def test_a_file_that_is_missing_is_refused(place, name):
    (place / name).unlink()
    with pytest.raises(LoraryError, match=r"missing|cannot be read|holds no"):
        load_model(str(place))


@pytest.mark.parametrize("name", ["base/modeling_mine.py", "base/pytorch_model.bin", "experts/dates/x.json"])
def test_a_file_beside_those_that_are_read_is_refused(place, name):
    (place / name).write_bytes(b"raise SystemExit")
    with pytest.raises(FormatError, match="was not saved with this model: remove it"):
        load_model(str(place))


def test_notes_at_the_top_and_further_artifacts_are_welcome(place):
    (place / "NOTES.txt").write_text("all mine")
    load_model(str(place), router="calibrated").detach()
    load_model(str(place))


@pytest.mark.parametrize("name", ["base", "experts", "base/config.json", "material.safetensors", MODEL_FILE])
def test_links_are_not_followed(place, tmp_path, name):
    shutil.move(place / name, tmp_path / "elsewhere")
    (place / name).symlink_to(tmp_path / "elsewhere")
    if name == MODEL_FILE:
        assert not is_saved_model(place)
    with pytest.raises((LoraryError, ValueError), match=r"link|takes the folder of a saved model|missing"):
        load_model(str(place))


@pytest.mark.parametrize("name", ["base/config.json", "material.safetensors", "base/pipe", MODEL_FILE])
def test_a_named_pipe_is_refused_at_once(place, name):
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name)
    with pytest.raises((LoraryError, ValueError), match=r"named pipe|not saved with|takes the folder of"):
        load_model(str(place))


def test_a_folder_of_an_earlier_version_opens(place):
    said = read_json(place)
    del said["files"], said["sha256"]
    (place / MODEL_FILE).write_text(json.dumps(said))
    model = load_model(str(place))
    assert model.routing[0] == "arrow"


WRONG_OPTIONS = [
    {"top_k": "3"},
    {"top_k": True},
    {"top_k": 0},
    {"top_k": 6},
    {"top_k": 10**39},
    {"temperature": "warm"},
    {"temperature": 1e-320},
    {"temperature": None},
    {"abstain": 1e300},
    {"weigh_by_gain": "yes"},
    {"input_norm": 3},
    {"colour": "red"},
    [],
    "options",
]


@pytest.mark.parametrize("options", WRONG_OPTIONS)
def test_options_that_do_not_work_are_found_when_the_model_is_loaded(place, options):
    if isinstance(options, dict):
        options = {**read_json(place)["options"], **options}
    write_json(place, options=options)
    with pytest.raises(FormatError, match=r"lorary_model\.json.* options"):
        load_model(str(place), router="uniform")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("router", "arow"),
        ("router", {"name": "arrow"}),
        ("combine", "sums"),
        ("base_fingerprint", "x" * 24),
        ("base_fingerprint", ""),
        ("material_sha256", "0" * 63),
        ("experts", {}),
        ("experts", {"../dates": "0" * 64}),
        ("experts", {"dates": "0"}),
        ("experts", {"dates": 1}),
        ("files", {"../../etc/passwd": "0" * 64}),
        ("files", {"/etc/passwd": "0" * 64}),
        ("files", {"README.md": None}),
        ("files", ["README.md"]),
        ("versions", {"lorary": 3}),
        ("has_encoder", 1),
        ("dtype", ["float32"]),
        ("base_model", "x\x1b[2J" * 100_000),
        ("base_revision", 3),
    ],
)
def test_values_of_any_other_kind_are_refused_in_a_short_line(place, field, value):
    write_json(place, **{field: value})
    with pytest.raises(FormatError) as caught:
        load_model(str(place))
    assert field in str(caught.value)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize("version", [True, "1", None, 1.5, 2, [1]])
def test_a_version_of_any_other_kind_is_refused(place, version):
    write_json(place, lorary_model=version)
    with pytest.raises(FormatError, match="must be of format 1, found"):
        load_model(str(place))


def change_material(place, change):
    """Change what only data could tell, with hashes that fit."""
    path = place / "material.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    digest = sha256(path.read_bytes()).hexdigest()
    files = {**read_json(place)["files"], "material.safetensors": digest}
    write_json(place, material_sha256=digest, files=files)


def first_means(tensors):
    return next(name for name in tensors if name.startswith("means/"))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors[first_means(tensors)].fill_(float("nan")),
        lambda tensors: tensors.update({first_means(tensors): torch.ones(5, 3)}),
        lambda tensors: tensors.update({first_means(tensors): torch.ones(5, 16, dtype=torch.int64)}),
        lambda tensors: tensors.update({"means/no.such.layer": torch.ones(5, 16)}),
        lambda tensors: tensors.update({"colours/layer": torch.ones(5, 16)}),
        lambda tensors: tensors.update({"embeddings/nobody": torch.ones(2, 3)}),
        lambda tensors: tensors.update({"embeddings/dates": torch.ones(2, 4)}),
        lambda tensors: tensors.update({"embeddings/dates": torch.ones(0, 3)}),
    ],
)
def test_material_that_does_not_fit_the_model_is_refused(place, change):
    change_material(place, change)
    with pytest.raises(FormatError, match=r"material\.safetensors"):
        load_model(str(place))


def test_material_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    """Guards a bomb: gigabytes of zeros were read before their hash was compared."""
    (tmp_path / "material.safetensors").write_bytes(bytes(1000))
    monkeypatch.setenv("LORARY_MAX_MATERIAL_MB", "0.0001")
    with pytest.raises(FormatError, match=r"is too large: .*LORARY_MAX_MATERIAL_MB"):
        read_material(tmp_path, SimpleNamespace(material_sha256="0" * 64))
