"""Adapters of strangers: each hostile one is refused at once, in a short message, by an error of ours."""

import time

import pytest
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.experts import ExpertCard, read_card, read_peft

DEEP = {"a": 1}
for _ in range(90):
    DEEP = {"a": DEEP}

CONFIGS = {
    "a slow pattern of alphas": {"alpha_pattern": {"(.|.)*!": 2}},
    "a slow pattern of ranks": {"rank_pattern": {r"(\w+\.?)*!": 2}},
    "a pattern that is slow in another way": {"rank_pattern": {r"(\w\w?\.?)*[!?]": 2}},
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
    edit_config(alpha_pattern={r"(\w\w?\.?)*[!?]": 2}, target_modules="(.|.)*!", exclude_modules="(a|a)*!")
    assert read_card(LocalFileSystem(), str(adapter)).name == "poetry"
    with pytest.raises(FormatError, match=r"takes too long to match.*LORARY_MAX_PATTERN_SECONDS"):
        read_peft(adapter)
    edit_config(alpha_pattern={"(.|.)*!": 2})
    begun = time.thread_time()
    for read in (read_peft, lambda folder: read_card(LocalFileSystem(), str(folder))):
        with pytest.raises(FormatError, match=r"repeats without end .* takes PEFT years"):
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
