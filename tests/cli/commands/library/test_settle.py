import json

import pytest

from lorary.library.storage.places import JOURNAL, TRASH

ASIDE = f"{TRASH}/{'0' * 32}"


@pytest.fixture
def unfinished(library):
    """The library, ``sql`` of which somebody else was giving another name."""
    storage = library._storage
    storage.make_folder(TRASH)
    storage.move("sql", ASIDE)
    storage.write(JOURNAL, json.dumps({"moves": [["sql", ASIDE], [ASIDE, "queries"]]}).encode())
    return library


def test_a_change_of_somebody_else_is_finished_when_asked_for(lorary, unfinished):
    url = unfinished.url
    code, _, errors = lorary("library", "ls", url)
    assert code == 2 and "lorary library settle" in errors
    code, output, errors = lorary("library", "settle", url)
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        f"sql -> {ASIDE}",
        f"{ASIDE} -> queries",
        f"finished the change in library {url!r}",
        f"next: lorary library verify {url}",
    ]
    assert "queries" in unfinished and "sql" not in unfinished


def test_where_nothing_is_left_nothing_is_done(lorary, library):
    code, output, _ = lorary("library", "settle", library.url)
    assert code == 0 and output.startswith("there was no change to finish in library ")


def test_json_has_the_moves(lorary, unfinished):
    code, output, _ = lorary("library", "settle", unfinished.url, "--json")
    assert code == 0 and json.loads(output) == [["sql", ASIDE], [ASIDE, "queries"]]
