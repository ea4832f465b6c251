def test_the_experts_are_gone(lorary, library):
    code, output, _ = lorary("library", "rm", library.url, "sql", "card games")
    assert code == 0
    assert output.splitlines()[:2] == [
        f"removed expert 'sql' from library {library.url!r}",
        f"removed expert 'card games' from library {library.url!r}",
    ]
    assert list(library) == ["poetry"]


def test_a_name_given_twice_is_removed_once(lorary, library):
    code, _, _ = lorary("library", "rm", library.url, "sql", "sql")
    assert code == 0
    assert list(library) == ["card games", "poetry"]


def test_an_unknown_name_among_them_removes_none(lorary, library):
    code, _, errors = lorary("library", "rm", library.url, "sql", "poerty")
    assert code == 2
    assert errors == f"error: library {library.url!r} has no expert 'poerty': did you mean 'poetry'?\n"
    assert len(library) == 3


def test_a_path_is_no_name(lorary, library):
    code, _, errors = lorary("library", "rm", library.url, "../lib")
    assert code == 2
    assert "'../lib'" in errors
    assert len(library) == 3
