import pytest

from lorary.errors import FormatError
from lorary.files import parse_yaml, read_yaml


def test_plain_values_are_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: [1, 2.5, yes]\nb: &x {c: null}\nd: *x\n")
    assert read_yaml(path) == {"a": [1, 2.5, True], "b": {"c": None}, "d": {"c": None}}


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not a YAML file: .* in line 1, column 5"),
        (LAUGHS, "holds too many values: at most 20000 .*LORARY_MAX_YAML_NODES"),
        ("[" * 5000, "nests too deeply"),
        ("a: &a [*a]", "nests too deeply|too many values|is not a YAML file"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("date: 2024-13-45", "is not a YAML file"),
        ("{a: 1}: 2", "is not a YAML file"),
        ("--- 1\n--- 2", "is not a YAML file: but found another document"),
        ('"\\ud800"', "half of a surrogate pair"),
        ("a: 0x" + "f" * 100_000, "an integer of more than 40 digits"),
    ],
)
def test_what_is_no_sound_yaml_is_refused(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as found:
        read_yaml(path)
    assert len(str(found.value)) < 800


def test_text_is_refused_with_the_place():
    with pytest.raises(ValueError, match="in line 2, column 4"):
        parse_yaml("a: 1\n  b: 2")
