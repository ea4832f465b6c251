"""Names in a library: taken, unsafe, or one on some file systems."""

import shutil
from pathlib import Path

import pytest

from lorary.errors import LibraryError, UnknownExpert
from lorary.library import Library


def test_an_expert_is_stored_under_the_given_name(library, make_expert):
    library["one"] = make_expert("any")
    library.add(make_expert("any"), "two")
    library.add(make_expert("three"))
    assert [expert.name for expert in library.values()] == ["one", "three", "two"]


def test_names_with_spaces_dots_and_accents_are_kept(library, make_expert):
    names = ["arc easy v1.2", "poésie", "日本語", "{x}(y)!"]
    for name in names:
        library[name] = make_expert(name)
    assert sorted(library) == sorted(names) and library.verify() == []
    for name in names:
        del library[name]
    assert list(library) == []


def test_an_unknown_expert_is_told_with_the_nearest_names(library, url, make_expert):
    library["poetry"] = make_expert("poetry")
    for use in (
        lambda: library["poerty"],
        lambda: library.__delitem__("poerty"),
        lambda: library.rename("poerty", "x"),
        lambda: library.copy("poerty", "x"),
        lambda: library.verify(["poerty"]),
        lambda: library.artifacts("sum-1", {}, dict, ["poerty"]),
    ):
        with pytest.raises(UnknownExpert) as caught:
            use()
        assert str(caught.value) == f"library {url!r} has no expert 'poerty': did you mean 'poetry'?"


def test_a_taken_name_is_refused_and_nothing_changes(library, make_expert, same):
    library["a"], library["b"] = make_expert("a", 1), make_expert("b", 2)
    for use in (
        lambda: library.add(make_expert("b", 3)),
        lambda: library.rename("a", "b"),
        lambda: library.copy("a", "b"),
        lambda: library.rename("a", "a"),
    ):
        with pytest.raises(LibraryError, match=r"already has an expert '[ab]': choose another name"):
            use()
    assert same(library["a"], make_expert("a", 1)) and same(library["b"], make_expert("b", 2))


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "/x", ".lorary", "_x", "a\\b", "a\nb", "a*"])
def test_an_unsafe_name_is_refused_everywhere(library, make_expert, name):
    library["a"] = make_expert("a")
    for use in (
        lambda: library.__setitem__(name, make_expert("a")),
        lambda: library.add(make_expert("a"), name),
        lambda: library.rename("a", name),
        lambda: library.copy("a", name),
    ):
        with pytest.raises(ValueError, match="an expert's name must not"):
            use()
    assert name not in library
    for use in (lambda: library[name], lambda: library.__delitem__(name), lambda: library.rename(name, "x")):
        with pytest.raises(UnknownExpert):
            use()
    assert list(library) == ["a"]


def test_something_that_is_not_an_expert_is_never_replaced(library, make_expert):
    library._storage.make_folder("docs")
    library._storage.write("docs/notes.txt", b"mine")
    for name in ("docs", "library.json"):
        with pytest.raises(LibraryError, match=r"a file or folder .* that is not an expert: choose another"):
            library[name] = make_expert("any")
    assert library._storage.read("docs/notes.txt") == b"mine"
    assert list(library) == [] and "docs" not in library


CLASHES = [
    ("poetry", "Poetry"),
    ("straße", "STRASSE"),
    ("poe\u0301sie", "po\xe9sie"),
    ("po\xe9sie", "POE\u0301SIE"),
]


@pytest.mark.parametrize(("first", "second"), CLASHES)
def test_names_that_are_one_folder_on_some_disks_are_refused(library, make_expert, first, second):
    library[first] = make_expert("any", 1)
    library["other"] = make_expert("any", 2)
    for use in (
        lambda: library.add(make_expert("any"), second),
        lambda: library.__setitem__(second, make_expert("any")),
        lambda: library.copy("other", second),
        lambda: library.rename("other", second),
    ):
        with pytest.raises(
            LibraryError, match=r"which is the same name as .* on some file systems .*choose ano"
        ):
            use()
    assert list(library) == sorted([first, "other"])
    library[first] = make_expert("any", 3)
    library.rename(first, second)
    assert list(library) == sorted([second, "other"]) and library.verify() == []


def test_a_library_that_has_such_names_already_is_opened(local, make_expert):
    local["poetry"] = make_expert("poetry")
    shutil.copytree(f"{local.url}/poetry", f"{local.url}/Poetry")
    library = Library.open(local.url)
    assert list(library) == ["Poetry", "poetry"]
    library["poetry"] = make_expert("poetry", 2)
    del library["Poetry"]
    assert list(library) == ["poetry"] and library.verify() == []


def test_a_name_that_earlier_versions_allowed_opens_and_rename_mends_it(local, make_expert):
    """Guards old libraries: new names may be no device's on Windows."""
    local["a"] = make_expert("a")
    shutil.move(f"{local.url}/a", f"{local.url}/CON")
    card = Path(local.url, "CON", "expert.json")
    card.write_text(card.read_text().replace('"name": "a"', '"name": "CON"'))
    assert list(local) == ["CON"] and local["CON"].name == "CON" and local.verify() == []
    with pytest.raises(ValueError, match="be that of a device on Windows"):
        local.copy("CON", "aux")
    local.rename("CON", "console")
    assert list(local) == ["console"] and local["console"].name == "console"
