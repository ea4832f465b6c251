"""The library is a mapping that keeps what it is given, on every kind of file system."""

import random
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from lorary.errors import FormatError, LibraryError
from lorary.experts import Expert, Factors, read_alike, read_peft, write_peft
from lorary.experts.expert import check_finite
from lorary.library import Library
from lorary.library import library as room


def test_an_expert_comes_back_equal_bit_for_bit(library, make_expert, same):
    card = {"tasks": ("rhyme",), "tags": ("fun",), "description": "Über\nlines", "scores": {"loss": 0.5}}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        expert = make_expert("poetry", dtype=dtype, **card)
        library["poetry"] = expert
        assert same(library["poetry"], expert)


def test_a_library_does_what_a_dict_does(library, url, make_expert):
    """The reference: the same random changes made to a plain dict."""
    draw = random.Random(0)
    expected: dict[str, int] = {}
    for seed in range(60):
        name, other = draw.sample("abcdef", 2)
        change = draw.choice(["set", "set", "delete", "rename", "copy", "add"])
        if change == "set":
            library[name], expected[name] = make_expert("any", seed), seed
        elif change == "add" and name not in expected:
            library.add(make_expert(name, seed))
            expected[name] = seed
        elif change == "delete" and name in expected:
            del library[name], expected[name]
        elif change in ("rename", "copy") and name in expected and other not in expected:
            getattr(library, change)(name, other)
            expected[other] = expected.pop(name) if change == "rename" else expected[name]
        assert list(library) == sorted(expected) and len(library) == len(expected)
    assert library.verify() == []
    for name, expert in Library.open(url).items():
        reference = make_expert(name, expected[name])
        assert expert.name == name
        assert all(torch.equal(expert.factors[path].b, pair.b) for path, pair in reference.factors.items())


def test_a_stored_expert_is_a_plain_adapter_folder(local, make_expert, same):
    local["poetry"] = make_expert("poetry")
    folder = Path(local.url) / "poetry"
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
        "expert.json",
    }
    assert same(read_peft(folder), local["poetry"])


def test_an_adapter_copied_in_by_hand_is_an_expert_that_can_be_renamed_and_copied(local, make_expert):
    write_peft(make_expert("poetry"), f"{local.url}/by-hand")
    for extra in ("expert.json", "README.md"):
        Path(local.url, "by-hand", extra).unlink()
    local.rename("by-hand", "renamed")
    local.copy("renamed", "copied")
    assert list(local) == ["copied", "renamed"]
    assert [expert.name for expert in local.values()] == ["copied", "renamed"]
    assert local.verify() == []


def test_renaming_and_copying_give_cards_with_the_new_name_and_the_same_knowledge(library, make_expert, same):
    library["old"] = make_expert("old", tasks=("rhyme",))
    library.rename("old", "new")
    library.copy("new", "copy")
    for name in ("new", "copy"):
        assert same(library[name], make_expert(name, tasks=("rhyme",)))
        assert library._storage.read(f"{name}/README.md").count(f"# {name}\n".encode()) == 1
    assert "old" not in library and library.verify() == []


def test_copies_are_independent(library, make_expert, same):
    library["a"] = make_expert("a", 1)
    library.copy("a", "b")
    library["a"] = make_expert("a", 2)
    assert same(library["b"], make_expert("b", 1))


def test_files_of_others_in_an_experts_folder_are_renamed_and_copied_with_it(library, make_expert):
    library["a"] = make_expert("a")
    library._storage.make_folder("a/logs")
    library._storage.write("a/logs/loss.csv", b"1,2")
    library.rename("a", "b")
    library.copy("b", "c")
    assert [library._storage.read(f"{name}/logs/loss.csv") for name in "bc"] == [b"1,2"] * 2


def test_weights_of_a_local_library_are_memory_mapped(local, make_expert):
    local["poetry"] = make_expert()
    expert = local["poetry"]
    assert f"{local.url}/poetry/adapter_model.safetensors" in Path("/proc/self/maps").read_text()
    assert expert.num_parameters == make_expert().num_parameters


def test_tensors_in_use_stay_valid_when_their_expert_is_replaced_or_deleted(library, make_expert, same):
    library["a"] = make_expert("a", 1)
    first = library["a"]
    library["a"] = make_expert("a", 2)
    second = library.pop("a")
    assert same(first, make_expert("a", 1)) and same(second, make_expert("a", 2))


def test_the_rest_of_the_mapping_works_too(library, make_expert):
    library.update({"a": make_expert("a"), "b": make_expert("b")})
    assert library.get("missing") is None and library.get("../a") is None
    assert library.setdefault("a", make_expert("a", 5)).card == library["a"].card
    assert set(library.keys()) == {"a", "b"} and dict(library).keys() == {"a", "b"}
    library.clear()
    assert not library and list(library) == []


def test_a_library_opened_twice_sees_the_changes_of_the_other(library, url, make_expert):
    other = Library.open(url)
    library["a"] = make_expert("a")
    other.rename("a", "b")
    assert list(library) == ["b"]


def test_a_relative_path_is_remembered_as_the_folder_it_was(tmp_path, monkeypatch, make_expert):
    monkeypatch.chdir(tmp_path)
    library = Library.open("./lib", create=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    library["a"] = make_expert("a")
    assert list(Library.open(tmp_path / "lib")) == ["a"]


def test_a_path_with_wildcards_in_it_is_taken_literally(tmp_path, make_expert):
    for url in (str(tmp_path / "a[1]*"), "memory://a[1]*"):
        library = Library.open(url, create=True)
        library["x"], library["y"] = make_expert("x"), make_expert("y")
        del library["x"]
        library.rename("y", "z")
        assert list(library) == ["z"] and library.verify() == []


def test_a_library_shows_itself_with_its_place_and_size(library, url, make_expert):
    library["a"] = make_expert("a")
    assert repr(library) == f"Library({url!r}, 1 expert)"


def test_only_sound_experts_can_be_stored(library, make_expert):
    with pytest.raises(TypeError, match="a library stores experts, found dict for 'a'"):
        library["a"] = {"factors": {}}
    broken = {"q_proj": Factors(torch.full((2, 8), torch.nan), torch.ones(8, 2))}
    with pytest.raises(FormatError, match="must be finite, found 16 of"):
        library["a"] = Expert("a", "tiny", broken)
    assert list(library) == []


def test_an_expert_is_read_without_its_numbers_and_bad_ones_never_get_out(library, make_expert):
    library["a"] = make_expert("a")
    library._storage.remove("a/expert.json")
    weights = bytearray(library._storage.read("a/adapter_model.safetensors"))
    weights[-4:] = torch.tensor(torch.nan).numpy().tobytes()
    library._storage.remove("a/adapter_model.safetensors")
    library._storage.write("a/adapter_model.safetensors", bytes(weights))
    expert = library["a"]
    assert expert.num_parameters == make_expert("a").num_parameters
    for use in (lambda: dict(expert.factors), lambda: library.add(expert, "b"), lambda: check_finite(expert)):
        with pytest.raises(
            FormatError, match=r"expert 'a' in '.*a/adapter_model.safetensors' must be finite"
        ):
            use()
    assert list(library) == ["a"]


def test_a_library_that_was_deleted_is_told(local, make_expert):
    shutil.rmtree(local.url)
    for use in (lambda: list(local), lambda: local.entries(), lambda: local["a"]):
        with pytest.raises(LibraryError, match="no longer exists: it was moved or deleted"):
            use()
    with pytest.raises(LibraryError, match="cannot store expert 'a' in library"):
        local["a"] = make_expert("a")
    assert not Path(local.url).exists()


def test_weight_hashes_are_those_of_the_files(local, make_expert):
    local["poetry"] = make_expert("poetry")
    local["sql"] = make_expert("sql", 1)
    files = {name: Path(local.url) / name / "adapter_model.safetensors" for name in local}
    expected = {name: sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert local.weight_hashes() == expected


def test_weights_that_are_not_what_was_stored_never_get_out(library, make_expert):
    library["a"] = make_expert("a")
    weights = bytearray(library._storage.read("a/adapter_model.safetensors"))
    weights[-1] ^= 1
    library._storage.write("a/adapter_model.safetensors", bytes(weights))
    expert = library["a"]
    for use in (
        lambda: dict(expert.factors),
        lambda: list(read_alike([expert])),
        lambda: library.add(expert, "b"),
        lambda: library.artifacts("sum-1", {}, lambda experts: {"a": dict(experts["a"].factors)}),
    ):
        with pytest.raises(
            FormatError, match=r"a/adapter_model.safetensors' has changed since it was stored: expert.json"
        ):
            use()


def test_a_configuration_that_is_not_what_was_stored_is_refused(library, make_expert):
    library["a"] = make_expert("a")
    config = library._storage.read("a/adapter_config.json")
    library._storage.write("a/adapter_config.json", config.replace(b'"lora_alpha": 3', b'"lora_alpha": 24'))
    with pytest.raises(
        FormatError, match=r"a/adapter_config.json' has changed since it was stored: expert.json has"
    ):
        library["a"]


def test_what_others_wrote_is_understood_when_the_lock_is_free_again(local, make_expert, monkeypatch):
    """Guards against patterns that take a second to match while everybody else waits."""
    local["a"] = make_expert("a")
    build = room.build_expert

    def write_meanwhile(opened, name):
        Library(local.url, lock_timeout=0.0).add(make_expert("b"))
        return build(opened, name)

    monkeypatch.setattr(room, "build_expert", write_meanwhile)
    assert local["a"].name == "a" and list(local) == ["a", "b"]


def test_experts_that_come_together_are_all_stored_or_none(library, make_expert, same):
    experts = {name: make_expert(name, seed) for seed, name in enumerate(("one", "two", "three"))}
    library.add(experts["two"])
    with pytest.raises(LibraryError, match="already has an expert 'two'"):
        library.add_all(experts)
    assert list(library) == ["two"]
    library.add_all({**experts, "two": experts["one"]}, replace=True)
    assert list(library) == ["one", "three", "two"]
    assert same(library["two"], experts["one"].rename("two"))
