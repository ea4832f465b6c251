import pytest
import torch

from lorary.experts import write_peft
from lorary.library import Library


@pytest.fixture
def folder(tmp_path, make_expert):
    """A folder with an expert's files, outside of any library."""
    write_peft(make_expert("haiku"), str(tmp_path / "haiku"))
    return str(tmp_path / "haiku")


def test_an_adapter_becomes_an_expert(lorary, library, folder, make_expert):
    code, output, _ = lorary("library", "add", library.url, folder)
    assert code == 0
    assert output == (
        f"added expert 'haiku' to library {library.url!r}, which now has 4 experts\n"
        f"next: lorary library show {library.url} haiku\n"
    )
    stored, given = library["haiku"].factors["layers.0.proj"], make_expert("haiku").factors["layers.0.proj"]
    torch.testing.assert_close(stored.b @ stored.a, given.b @ given.a)


def test_it_gets_the_name_that_was_asked_for(lorary, library, folder):
    lorary("library", "add", library.url, folder, "--name", "short poems")
    assert "short poems" in library
    assert "haiku" not in library


def test_a_library_is_made_if_there_is_none(lorary, tmp_path, folder):
    code, _, _ = lorary("library", "add", str(tmp_path / "new"), folder)
    assert code == 0
    assert list(Library.open(str(tmp_path / "new"))) == ["haiku"]


def test_a_taken_name_is_refused(lorary, library, folder):
    before = library["sql"].factors["layers.0.proj"].a.clone()
    code, _, errors = lorary("library", "add", library.url, folder, "--name", "sql")
    assert code == 2
    assert "already has an expert 'sql'" in errors
    assert torch.equal(library["sql"].factors["layers.0.proj"].a, before)


def test_a_name_that_leaves_the_library_is_refused(lorary, library, folder):
    code, _, errors = lorary("library", "add", library.url, folder, "--name", "../x")
    assert code == 2
    assert "'../x'" in errors
    assert len(library) == 3


def test_a_bad_adapter_leaves_no_new_library(lorary, tmp_path):
    (tmp_path / "bad").mkdir()
    code, _, errors = lorary("library", "add", str(tmp_path / "new"), str(tmp_path / "bad"))
    assert code == 2
    assert "adapter_config.json" in errors
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("places", "what"), [(("a", "b"), "2 adapters"), (("snapshots/c0ffee",), "1 adapter")]
)
def test_a_folder_of_adapters_is_refused_with_their_names(lorary, tmp_path, places, what):
    for place in places:
        (tmp_path / "many" / place).mkdir(parents=True)
        (tmp_path / "many" / place / "adapter_config.json").write_text("{}")
    code, _, said = lorary("library", "add", str(tmp_path / "lib"), str(tmp_path / "many"))
    assert code == 2
    assert f"is not an adapter but contains {what}: add each by its own folder" in said
    assert all(repr(str(tmp_path / "many" / place)) in said for place in places)
    assert not (tmp_path / "lib").exists()
