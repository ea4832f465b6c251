"""Adapters of strangers: each hostile one is refused at once, in a short message, by an error of ours."""

import json
import os
import socket
import time

import pytest
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.experts import ExpertCard, read_peft
from lorary.experts.peft_reader import read_card

DEEP = {"a": 1}
for _ in range(90):
    DEEP = {"a": DEEP}

CONFIGS = {
    "a slow pattern of alphas": {"alpha_pattern": {"(.|.)*!": 2}},
    "a slow pattern of ranks": {"rank_pattern": {r"(\w+\.?)*!": 2}},
    "a pattern that is slow in another way": {"rank_pattern": {r"((\w\.?){1,3}){1,60}[!?]": 2}},
    "a hundred thousand patterns": {"alpha_pattern": {f"m{number}": 2 for number in range(100_000)}},
    "a huge pattern": {"alpha_pattern": {"a" * 10**6: 2}},
    "a pattern that compiles to much": {"alpha_pattern": {"((a{1,200}){1,200}){1,200}": 2}},
    "a type that is a list": {"peft_type": ["LORA"]},
    "a type that is an object": {"peft_type": {"LORA": 1}},
    "a type of a megabyte": {"peft_type": "X" * 10**6},
    "a huge rank": {"r": 2**21},
    "a huge alpha": {"lora_alpha": 10**39},
    "an alpha beyond float32": {"lora_alpha": 1e300},
    "a huge rank of a pattern": {"rank_pattern": {"q": 10**30}},
    "a truth value as rank": {"r": True},
    "a base model of a megabyte": {"base_model_name_or_path": "x" * 10**6},
    "a base model that is a list": {"base_model_name_or_path": ["x"]},
    "a revision of a megabyte": {"revision": "x" * 10**6},
    "unknown settings by the hundred thousand": {f"s{number}\x1b": [number] for number in range(100_000)},
    "a setting that nests": {"strange": DEEP},
    "a bias that is an object": {"bias": {"none": 1}},
    "an initialisation that is an object": {"init_lora_weights": {"a": "\x1b" * 10**5}},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_a_hostile_configuration_is_refused_soon_and_shortly(adapter, edit_config, changes):
    edit_config(**changes)
    begun = time.thread_time()
    with pytest.raises(FormatError) as caught:
        read_peft(adapter)
    assert time.thread_time() - begun < 4
    assert len(str(caught.value)) < 1000 + len(str(adapter)) and str(caught.value).isprintable()


def test_patterns_are_refused_in_the_time_they_have(adapter, edit_config):
    """Guards against an adapter that keeps a machine busy for years once it is listed or read."""
    edit_config(
        alpha_pattern={r"((\w\.?){1,3}){1,60}[!?]": 2}, target_modules="(.|.)*!", exclude_modules="(a|a)*!"
    )
    assert read_card(LocalFileSystem(), str(adapter)).name == "poetry"
    with pytest.raises(FormatError, match=r"takes too long to match.*LORARY_MAX_PATTERN_SECONDS"):
        read_peft(adapter)
    edit_config(alpha_pattern={"(.|.)*!": 2})
    begun = time.thread_time()
    for read in (read_peft, lambda folder: read_card(LocalFileSystem(), str(folder))):
        with pytest.raises(FormatError, match=r"has an unlimited repetition .* PEFT may not finish"):
            read(adapter)
    assert time.thread_time() - begun < 1


@pytest.mark.parametrize(
    "text", ['{"peft_type": "\\ud800"}', '{"r": 1, "r": 2}', "[" * 10**6, "1" * 10**5, "", "nul", "\xff\xfe"]
)
def test_what_is_no_strict_json_is_refused(adapter, text):
    (adapter / "adapter_config.json").write_bytes(text.encode("latin-1"))
    for read in (read_peft, lambda folder: read_card(LocalFileSystem(), str(folder))):
        with pytest.raises(FormatError) as caught:
            read(adapter)
        assert len(str(caught.value)) < 1000


NAMES = {
    "parents": "..q",
    "empty parts": "model..q",
    "a dot at the end": "model.q.",
    "a new line": "model.\nq",
    "an escape": "model.\x1b[2Jq",
    "ten thousand parts": "m." * 10_000 + "q",
    "a megabyte": "m" * 10**6,
    "a direction mark": "model.\u202eq",
}


@pytest.mark.parametrize("module", NAMES.values(), ids=NAMES)
def test_a_module_s_path_that_no_model_has_is_refused(adapter, edit_tensors, module):
    def rename(tensors):
        for name in list(tensors):
            tensors[f"base_model.model.{module}.{name.split('.', 7)[-1]}"] = tensors.pop(name)

    edit_tensors(rename)
    with pytest.raises(FormatError) as caught:
        read_peft(adapter)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


CARDS = {
    "half a surrogate pair": {"description": "a\ud800"},
    "half a pair as a key": {"provenance": {"\udfff": 1}},
    "half a pair in a task": {"tasks": ("\ud800",)},
    "half a pair in a score's name": {"scores": {"\ud800": 1.0}},
    "a huge score": {"scores": {"loss": 10**400}},
    "a deep provenance": {"provenance": {"a": [[[[[[[[[DEEP]]]]]]]]]}},
    "a huge wrong value": {"tags": "x" * 10**7},
    "a set": {"provenance": {"a": {1, 2}}},
    "not a number": {"provenance": {"a": float("nan")}},
}


@pytest.mark.parametrize("fields", CARDS.values(), ids=CARDS)
def test_a_card_that_no_file_could_hold_is_refused(fields):
    with pytest.raises((TypeError, ValueError)) as caught:
        ExpertCard(**fields)
    assert not isinstance(caught.value, UnicodeError)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["../x", "con", "a\ud800", "x" * 10**6, 3, "a/b", "\u202e"])
def test_a_bad_name_for_an_adapter_is_refused(adapter, name):
    with pytest.raises((TypeError, ValueError), match="an expert's name must"):
        read_peft(adapter, name=name)


@pytest.mark.parametrize("modules", [{"a": 1}, 10**30, [[]], "(.|.)*!", None])
def test_what_selected_the_modules_is_not_looked_at(adapter, edit_config, modules):
    edit_config(target_modules=modules, exclude_modules=modules)
    assert read_peft(adapter).name == "poetry"


FILES = ["adapter_config.json", "adapter_model.safetensors", "expert.json"]


def put_pipe(path):
    os.mkfifo(path)


def put_device(path):
    path.symlink_to("/dev/zero")


def put_socket(path, monkeypatch=None):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def put_loop(path):
    path.symlink_to(path.name)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("put", [put_pipe, put_device, put_socket, put_loop, os.mkdir])
def test_what_is_no_regular_file_is_refused_at_once(adapter, file, put):
    """Guards against waiting forever for what a named pipe or a device gives."""
    (adapter / file).unlink(missing_ok=True)
    put(adapter / file)
    with pytest.raises(FormatError, match=f"{file}' must be a regular file, found"):
        read_peft(adapter)
    if file != "adapter_model.safetensors":
        with pytest.raises(FormatError, match=f"{file}' must be a regular file, found"):
            read_card(LocalFileSystem(), str(adapter))


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_may_not_be_read_is_not_told_as_missing(adapter, monkeypatch, file):
    """Guards against a listing that drops, or overwrites, an expert because the disk failed for a moment."""
    (adapter / file).touch()
    original = os.open, os.stat

    def refuse(call):
        def fail(path, *arguments, **options):
            if str(path).endswith(file):
                raise PermissionError(13, "Permission denied", path)
            return call(path, *arguments, **options)

        return fail

    monkeypatch.setattr(os, "open", refuse(original[0]))
    monkeypatch.setattr(os, "stat", refuse(original[1]))
    with pytest.raises(PermissionError):
        read_peft(adapter)


SIDECARS = {
    "a summary below zero": {
        "summary": {"num_parameters": -1, "num_modules": 1, "max_rank": 1, "dtype": "f"}
    },
    "a huge summary": {"summary": {"num_parameters": 2**64, "num_modules": 1, "max_rank": 1, "dtype": "f"}},
    "a summary of a long dtype": {
        "summary": {"num_parameters": 1, "num_modules": 1, "max_rank": 1, "dtype": "f" * 10**6}
    },
    "a summary of truth values": {
        "summary": {"num_parameters": True, "num_modules": 1, "max_rank": 1, "dtype": "f"}
    },
    "a summary with a key that is an object": {"summary": {"": {}}},
    "a hundred thousand unknown keys": {f"key{number}": 1 for number in range(100_000)},
    "a huge unknown key": {"x" * 10**6: 1},
    "a huge score": {"scores": {"x": 10**39 * 10}},
    "scores by the hundred thousand, one of them text": {
        "scores": {**{str(n): n for n in range(10**5)}, "x": ""}
    },
    "a name of a megabyte": {"name": "x" * 10**6},
    "a name that leads elsewhere": {"name": "../../x"},
    "a base model of a megabyte": {"base_model": "x" * 10**6},
    "a hash of another kind": {"weights_sha256": ["0" * 64]},
    "a version that is a list": {"lorary": [1]},
    "a huge version": {"lorary": 10**39},
    "a version that is true": {"lorary": True},
    "a provenance that is a list": {"provenance": [1] * 10**5},
    "tasks that nest": {"tasks": [DEEP]},
}


@pytest.mark.parametrize("changes", SIDECARS.values(), ids=SIDECARS)
def test_a_hostile_card_is_refused_soon_and_shortly(adapter, changes):
    (adapter / "expert.json").write_text(json.dumps({"lorary": 1, "name": "x", "base_model": "y", **changes}))
    begun = time.thread_time()
    for read in (read_peft, lambda folder: read_card(LocalFileSystem(), str(folder))):
        with pytest.raises(FormatError) as caught:
            read(adapter)
        assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()
    assert time.thread_time() - begun < 5
