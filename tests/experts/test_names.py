import pytest

from lorary.experts import check_name


@pytest.mark.parametrize(
    "name", ["poetry", "arc easy v1.2", "a", "task1391_x-y", "詩", "x" * 128, "a.b", "1"]
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
        ("a/../../x", "hold '/'"),
        ("/etc/passwd", "hold '/'"),
        ("a\\b", r"hold '\\\\'"),
        ("a*", r"hold '\*'"),
        ("a[b]?", r"hold '\?' or '\[' or '\]'"),
        ("memory::x", "hold ':'"),
        ("a\nb", "hold control or invisible"),
        ("a\0b", "hold control or invisible"),
        ("a\u202eb", "hold control or invisible"),
        ("\ud800", "hold control or invisible"),
        (" a", "begin or end with a space"),
        ("x" * 129, "be longer than 128 bytes"),
        ("詩" * 43, "be longer than 128 bytes"),
    ],
)
def test_an_unsafe_name_is_refused_and_shown(name, fault):
    with pytest.raises(ValueError, match=f"must not {fault}.*: choose another name") as caught:
        check_name(name)
    assert repr(name) in str(caught.value)


def test_a_name_that_is_no_string_is_refused():
    with pytest.raises(TypeError, match="must be a string, not int 3"):
        check_name(3)
