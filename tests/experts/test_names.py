import unicodedata

import pytest

from lorary.experts import check_name
from lorary.experts.names import fold_name
from lorary.files import quote


@pytest.mark.parametrize(
    "name",
    [
        "poetry",
        "arc easy v1.2",
        "a",
        "task1391_x-y",
        "詩",
        "x" * 128,
        "a.b",
        "1",
        "console",
        "com10",
        "café",
        "cafe\u0301",
    ],
)
def test_a_sound_name_comes_back_unchanged(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "be empty"),
        (".", r"begin with '\.'"),
        ("..", r"begin with '\.'"),
        (".hidden", r"begin with '\.'"),
        ("_private", "begin with '_'"),
        ("-rf", "begin with '-'"),
        ("../x", r"begin with '\.'"),
        ("a/../../x", "have '/'"),
        ("/etc/passwd", "have '/'"),
        ("a\\b", r"have '\\\\'"),
        ("a*", r"have '\*'"),
        ("a[b]?", r"have '\?' or '\[' or '\]'"),
        ("memory::x", "have ':'"),
        ("a\nb", "have control or invisible"),
        ("a\0b", "have control or invisible"),
        ("a\u202eb", "have control or invisible"),
        ("\ud800", "have control or invisible"),
        ("a\ud800b", "have control or invisible"),
        ("a\u200db", "have control or invisible"),
        ("a\u3164", "have control or invisible"),
        ("a\ufe0f", "have control or invisible"),
        ("a\u00a0b", "have control or invisible"),
        ("\u0301a", "begin with a combining mark"),
        ("a.", r"end with '\.'"),
        ("con", "be that of a device on Windows"),
        ("NUL.tar.gz", "be that of a device on Windows"),
        ("Com1", "be that of a device on Windows"),
        ("lpt³.x", "be that of a device on Windows"),
        ("CONIN$", "be that of a device on Windows"),
        ("aux .x", "be that of a device on Windows"),
        (" a", "begin or end with a space"),
        ("x" * 129, "be longer than 128 bytes"),
        ("詩" * 43, "be longer than 128 bytes"),
    ],
)
def test_an_unsafe_name_is_refused_and_shown(name, fault):
    with pytest.raises(ValueError, match=f"must not {fault}.*: choose another name") as caught:
        check_name(name)
    assert quote(name) in str(caught.value)


def test_a_name_that_is_no_string_is_refused():
    with pytest.raises(TypeError, match="must be a string, found int 3"):
        check_name(3)


@pytest.mark.parametrize("name", ["\ud800" * 10**6, "x" * 10**7, "/" * 10**6, ["x" * 10**6], {}])
def test_a_refusal_stays_short(name):
    with pytest.raises((TypeError, ValueError)) as caught:
        check_name(name)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Poetry", "poetry"),
        ("café", unicodedata.normalize("NFD", "CAFÉ")),
        ("STRASSE", "straße"),
        ("ΌΣ", "ός"),
    ],
)
def test_names_that_differ_in_case_or_form_fold_to_the_same(one, other):
    assert fold_name(one) == fold_name(other)


def test_names_that_differ_otherwise_stay_apart():
    names = ["poetry", "poetry2", "cafe", "café", "x²", "x2"]
    assert len(set(map(fold_name, names))) == len(names)
    assert all(fold_name(fold_name(name)) == fold_name(name) for name in names)
