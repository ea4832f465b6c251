"""A journal is obeyed only if it asks for what a library does; nothing else is understood."""

import json

import pytest

from lorary.errors import FormatError
from lorary.library.storage.local.journal import (
    Journal,
    dump_journal,
    moves_file,
    parse_journal,
    plan_renaming,
    plan_replacement,
)
from lorary.library.storage.places import TMP, TRASH

OWNER = "0123456789abcdef"
STAGED, ASIDE = f"{TMP}/{'1' * 32}", f"{TRASH}/{'2' * 32}"
PLANS = [
    plan_replacement("poetry", STAGED, ASIDE),
    plan_renaming("old", "new v1.0", ["expert.json", "README.md"], STAGED, ASIDE),
    plan_renaming("old", "new", ["README.md"], STAGED, ASIDE),
    plan_renaming("old", "new", [], STAGED, ASIDE),
]
# Changes of several experts that belong together: one plan after the other, or an expert less and one more.
SEVERAL = [
    [("a", ASIDE), (STAGED, "b")],
    [("a", ASIDE), ("b", f"{TRASH}/{'3' * 32}")],
    [(STAGED, "a"), (f"{TMP}/{'4' * 32}", "b")],
    [
        ("c", f"{TRASH}/{'3' * 32}"),
        *PLANS[1],
        *plan_replacement("d", f"{TMP}/{'5' * 32}", f"{TRASH}/{'6' * 32}"),
    ],
]


@pytest.mark.parametrize("moves", PLANS + SEVERAL)
def test_what_a_library_writes_is_read_back(moves):
    journal = Journal(OWNER, moves)
    assert parse_journal(dump_journal(journal), "j") == journal
    assert parse_journal(json.dumps({"moves": moves}).encode(), "j") == Journal(None, moves)


HOSTILE = [
    [["a", "../../site-packages"], [STAGED, "a"]],
    [["../x", ASIDE], [STAGED, "../x"]],
    [["a/b", ASIDE], [STAGED, "a/b"]],
    [["/etc", ASIDE], [STAGED, "/etc"]],
    [[".lorary", ASIDE], [STAGED, ".lorary"]],
    [["library.json", ASIDE], [STAGED, "library.json"]],
    [["a", ASIDE], [f"{STAGED}/../../..", "a"]],
    [["a", f"{TRASH}/../../x"], [STAGED, "a"]],
    [["a", f"{TRASH}/{'A' * 32}"], [STAGED, "a"]],
    [["a", ASIDE + "\n"], [STAGED, "a"]],
    [["a", ASIDE], [ASIDE.replace("2", "3"), "a"]],
    [["a", STAGED], [ASIDE, "a"]],
    [["a", ASIDE]],
    [],
    [["a", ASIDE], [STAGED, "a"]] * 2,
    [["a", ASIDE], ["b", ASIDE]],
    [[STAGED, "a"], [STAGED, "b"]],
    [["a", ASIDE], [STAGED, "library.json"]],
    [["a", ASIDE, "x"], [STAGED, "a"]],
    [["a", 1], [STAGED, "a"]],
    [["", ASIDE], [STAGED, ""]],
    [
        ["a", ASIDE],
        [f"{ASIDE}/../x", f"{ASIDE}.0"],
        [f"{STAGED}/../x", f"{ASIDE}/../x"],
        [ASIDE, "b"],
    ],
    plan_renaming("old", "new", ["adapter_model.safetensors"], STAGED, ASIDE),
    plan_renaming("old", "new", ["README.md", "README.md"], STAGED, ASIDE),
    plan_renaming("old", "../new", ["README.md"], STAGED, ASIDE),
    plan_renaming("old", "new", ["README.md"], "outside", ASIDE),
    plan_renaming("old", "new", [], STAGED, "outside"),
    {"a": "b"},
    "moves",
    None,
]


@pytest.mark.parametrize("moves", HOSTILE)
def test_moves_that_no_library_makes_are_refused(moves):
    """Guards against a journal that moves a planted file into the user's packages."""
    with pytest.raises(FormatError, match="'j' must have only moves that a library makes"):
        parse_journal(json.dumps({"owner": OWNER, "moves": moves}).encode(), "j")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 9000, b'{"moves": NaN}'])
def test_what_is_no_json_object_is_refused(content):
    with pytest.raises(FormatError, match="'j' must"):
        parse_journal(content, "j")


@pytest.mark.parametrize("owner", [1, "short", ["x"], {}])
def test_an_owner_that_is_none_is_refused(owner):
    with pytest.raises(FormatError, match="owner in 'j' must be text of 16 characters"):
        parse_journal(json.dumps({"owner": owner, "moves": PLANS[0]}).encode(), "j")


def test_files_and_folders_among_what_is_moved_are_told_apart():
    paths = {path for moves in PLANS for move in moves for path in move}
    files = {path for path in paths if moves_file(path)}
    folders = {"poetry", "old", "new", "new v1.0", STAGED, ASIDE}
    assert files == paths - folders and len(files) == 6
