"""Folders of saved models that others changed: whatever does not fit is refused by name, and nothing runs."""

import json
import os
import shutil
import time
from hashlib import sha256
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorary.assembly import load_model, save_model
from lorary.assembly.folder_files import is_beneath
from lorary.assembly.saved_model import is_saved_model, read_material, read_saved_model
from lorary.errors import BaseModelError, FormatError, LoraryError
from lorary.models import load_base

MODEL_FILE = "lorary_model.json"


@pytest.fixture
def base(build_tiny_base, tmp_path):
    """A tiny base model that can be loaded again by its name."""
    folder = tmp_path / "bases" / "tiny"
    built = build_tiny_base()
    built.model.save_pretrained(folder)
    built.tokenizer.save_pretrained(folder)
    return load_base(str(folder), dtype=torch.float32)


@pytest.fixture
def place(model, tmp_path):
    """A saved model with its base, and all that is known of the experts."""
    rows = {
        path: torch.ones(len(model.names), layer.a.shape[2]) for path, layer in model.stack.layers.items()
    }
    model.provide(means=rows, embeddings={name: torch.ones(2, 3) for name in model.names})
    save_model(model, tmp_path / "mine", with_base=True)
    model.detach()
    return tmp_path / "mine"


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
    with pytest.raises(FormatError, match=r"dates/adapter_config\.json.* is not what was"):
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


def test_code_that_comes_with_a_base_model_is_not_run(place, tmp_path):
    folder, mark = tmp_path / "bases" / "tiny", tmp_path / "it-ran"
    code = f"open({str(mark)!r}, 'w')\n"
    (folder / "modeling_mine.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "modeling_mine.Config", "AutoModelForCausalLM": "modeling_mine.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": auto, "model_type": "mine"}))
    begun = time.monotonic()
    with pytest.raises(BaseModelError):
        load_base(str(folder))
    assert not mark.exists() and time.monotonic() - begun < 10  # nobody is asked whether to trust it


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_not_read(base, tmp_path):
    folder, mark = tmp_path / "bases" / "tiny", tmp_path / "it-ran"
    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Bomb(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match="safetensors"):
        load_base(str(folder))
    assert not mark.exists()


CONFIGS = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"[" * 100_000,
    b'{"model_type": 3}',
    b'{"model_type": "llama", "vocab_size": "x"}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("content", CONFIGS)
def test_a_base_model_of_any_other_content_is_refused(base, tmp_path, content):
    folder = tmp_path / "bases" / "tiny"
    (folder / "config.json").write_bytes(content)
    with pytest.raises(BaseModelError):
        load_base(str(folder))


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "\x1b[2J", ""])
def test_names_that_are_none_are_refused_in_a_short_line(name):
    with pytest.raises(BaseModelError) as caught:
        load_base(name)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a", "a/b.json", "experts/.lorary/artifacts/x/y"])
def test_paths_beneath_are_told(name):
    assert is_beneath(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "./a"])
def test_paths_that_may_lead_elsewhere_are_told(name):
    assert not is_beneath(name)


def test_no_folder_at_all_is_told():
    assert not is_saved_model("a" * 5000)
    assert not is_saved_model("/dev/null")


def test_material_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    """Guards a bomb: gigabytes of zeros were read before their hash was compared."""
    (tmp_path / "material.safetensors").write_bytes(bytes(1000))
    monkeypatch.setenv("LORARY_MAX_MATERIAL_MB", "0.0001")
    with pytest.raises(FormatError, match=r"is too large: .*LORARY_MAX_MATERIAL_MB"):
        read_material(tmp_path, SimpleNamespace(material_sha256="0" * 64))
