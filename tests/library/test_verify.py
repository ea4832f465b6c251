"""Everything that can be wrong with a stored expert is found, and nothing else."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save

from lorary.library.artifacts import ARTIFACTS


class Bomb:
    """A pickle that tells when it is opened."""

    def __reduce__(self):
        return (pytest.exit, ("a pickle was opened",))


@pytest.fixture
def damage(library, make_expert):
    """Damage a file of expert 'a' and return what verify says; expert 'b' stays sound."""
    library["a"], library["b"] = make_expert("a"), make_expert("b", 1)

    def change(file, make_content):
        path = f"a/{file}"
        content = make_content(library._storage.read(path) if library._storage.find_kind(path) else b"")
        library._storage.remove(path)
        if content is not None:
            library._storage.write(path, content)
        return [str(problem) for problem in library.verify()]

    return change


def test_a_sound_library_has_no_problems(library, make_expert):
    assert library.verify() == []
    library["a"] = make_expert("a")
    assert library.verify() == library.verify(["a"]) == []


@pytest.mark.parametrize("position", [0, 8, 100, -1])
def test_one_flipped_bit_in_the_weights_is_found(damage, position):
    def flip(content):
        changed = bytearray(content)
        changed[position] ^= 1
        return bytes(changed)

    found = damage("adapter_model.safetensors", flip)
    assert found[0].startswith(
        "a/adapter_model.safetensors: has changed since it was stored: expert.json has SHA-256 "
    )
    assert all(problem.startswith("a") for problem in found)


def test_truncated_weights_are_found(damage):
    changed, unreadable = damage("adapter_model.safetensors", lambda content: content[:-10])
    assert "has changed since it was stored" in changed
    assert unreadable.startswith("a: cannot be read: ") and "truncated or damaged" in unreadable


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_found(damage, file):
    found = damage(file, lambda content: None)
    assert found == [f"a/{file}: is missing: restore it, or add the expert again"]


def test_a_pickle_in_place_of_the_weights_is_found_and_never_opened(damage):
    changed, unreadable = damage("adapter_model.safetensors", lambda content: pickle.dumps(Bomb()))
    assert "has changed since it was stored" in changed and "found a file by torch.save" in unreadable


def test_a_pickle_beside_the_weights_is_found_and_never_opened(damage):
    assert damage("adapter_model.bin", lambda content: pickle.dumps(Bomb())) == [
        "a/adapter_model.bin: is a pickle, which a library never reads: add the expert again, or delete it"
    ]


def test_a_sidecar_of_another_name_is_found(damage):
    def rename(content):
        return json.dumps(json.loads(content) | {"name": "other"}).encode()

    [problem] = damage("expert.json", rename)
    assert problem.startswith("a/expert.json: has the name 'other', but its folder is 'a' (copied or ")


def test_a_damaged_sidecar_is_found(damage):
    [problem] = damage("expert.json", lambda content: content[:20])
    assert problem.startswith("a/expert.json: ") and "must be a JSON file" in problem


def test_a_configuration_that_does_not_fit_the_weights_is_found(damage):
    def change_rank(content):
        return json.dumps(json.loads(content) | {"r": 7, "rank_pattern": {}}).encode()

    changed, problem = damage("adapter_config.json", change_rank)
    assert changed.startswith(
        "a/adapter_config.json: has changed since it was stored: expert.json has SHA-256 "
    )
    assert problem.startswith("a: cannot be read: ") and "rank must be 7" in problem


def test_a_plain_adapter_is_sound_without_a_hash_but_not_with_infinite_weights(damage, make_expert):
    a, b = make_expert("x").factors["layers.0.q_proj"]
    names = [f"base_model.model.layer.lora_{letter}.weight" for letter in "AB"]
    damage("expert.json", lambda content: None)
    damage("adapter_config.json", lambda content: b'{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    assert damage("adapter_model.safetensors", lambda content: save({names[0]: a, names[1]: b})) == []
    [problem] = damage("adapter_model.safetensors", lambda content: save({names[0]: a / 0, names[1]: b}))
    assert problem.startswith("a: cannot be read: ") and "must be finite" in problem


def test_only_the_named_experts_are_looked_at(damage, library):
    damage("adapter_config.json", lambda content: None)
    assert library.verify(["b"]) == []
    assert [problem.expert for problem in library.verify(["b", "a"])] == ["a"]


@pytest.fixture
def derived(library, make_expert):
    library["a"], library["b"] = make_expert("a"), make_expert("b", 1)
    library.artifacts("sum-1", {}, lambda experts: {name: {"x": torch.ones(3)} for name in experts})
    return library


@pytest.mark.parametrize("content", [b"", b"x" * 99, save({"x": torch.ones(3)})])
def test_a_damaged_artifact_is_found(derived, content):
    assert derived.verify() == []
    path, _ = derived._storage.walk(ARTIFACTS)
    derived._storage.write(path, content)
    [problem] = derived.verify()
    assert str(problem).startswith(f"{path}: ")
    assert str(problem).endswith("delete it, it will be computed again when needed")


def test_an_artifact_whose_numbers_changed_is_found_where_all_is_looked_at(derived):
    for path in derived._storage.walk(ARTIFACTS):
        content = derived._storage.read(path)
        derived._storage.write(path, content[:-1] + bytes([content[-1] ^ 1]))
    assert [len(derived.verify(names)) for names in (None, ["a"], [])] == [2, 0, 0]
    assert [len(derived.verify(["a"], rest=rest)) for rest in (True, False)] == [2, 0]
    assert derived.verify(rest=False) == []
    assert all("has changed since it was stored" in problem.message for problem in derived.verify())


def test_a_configuration_that_changed_is_found(damage):
    found = damage(
        "adapter_config.json", lambda content: content.replace(b'"lora_alpha": 3', b'"lora_alpha": 24')
    )
    assert len(found) == 1 and found[0].startswith("a/adapter_config.json: has changed since it was stored")


def test_a_folder_whose_name_no_expert_may_have_is_found(local, make_expert):
    """Such a folder is in no listing, as if it were not there."""
    local["a"] = make_expert("a")
    shutil.copytree(f"{local.url}/a", f"{local.url}/a:b")
    shutil.copytree(f"{local.url}/a", f"{local.url}/x\u202e")
    assert list(local) == ["a"]
    assert [str(problem) for problem in local.verify()] == [
        f"{name}: is not listed as an expert, because its name is not allowed: rename the folder"
        for name in ("a:b", "x\\u202e")
    ]
