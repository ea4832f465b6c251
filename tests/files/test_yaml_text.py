import pytest

from lorary.errors import FormatError
from lorary.files.yaml_text import parse_yaml, read_yaml, read_yaml_documents, refuse_yaml_bomb


def test_plain_values_are_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: [1, 2.5, yes]\nb: &x {c: null}\nd: *x\n")
    assert read_yaml(path) == {"a": [1, 2.5, True], "b": {"c": None}, "d": {"c": None}}


def test_numbers_with_exponents_are_numbers_and_dates_are_text():
    assert parse_yaml("[1e-3, 2.5E3, -.5, .inf, 1.]") == [1e-3, 2500.0, -0.5, float("inf"), 1.0]
    assert parse_yaml("[2024-01-31, 2024-13-45, 1e]") == ["2024-01-31", "2024-13-45", "1e"]


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not a YAML file: .* in line [12], column [15]"),
        (LAUGHS, "holds too many values: at most 200000.*LORARY_MAX_YAML_NODES"),
        ("[" * 5000, "nests too deeply"),
        ("a: &a [*a]", "nests too deeply|too many values|is not a YAML file"),
        ("!!python/object/apply:os.system ['true']", "a value of the kind 'tag:yaml.org,2002:python/object"),
        ("a: !!timestamp 'x'", "a value of the kind 'tag:yaml.org,2002:timestamp': write plain values"),
        ("a: &a {b: 1}\nc: {<<: *a}", "merges mappings by '<<': write out the keys"),
        ("{a: 1}: 2", "is not a YAML file"),
        ("a: 1\nb: [{c: 1, c: 2}]", "the key 'c' is given twice: keep one in line 2, column 12"),
        ("--- 1\n--- 2", "is not a YAML file: it holds 2 documents: keep one"),
        ('"\\ud800"', "half of a surrogate pair|invalid Unicode"),
        ("a: 0x" + "f" * 100_000, "an integer of more than 40 digits"),
    ],
)
def test_what_is_no_sound_yaml_is_refused(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as found:
        read_yaml(path)
    assert len(str(found.value)) < 800


def test_text_that_is_safe_for_any_reader_passes():
    """It also passes where it is no YAML, such as a prompt."""
    for text in (
        "a: 1",
        "[1, {a: b}]",
        "*emphasis* in a prompt",
        "a: b: c",
        "",
        "\ud800",
        "&a x",
        "!help <<",
        "<<",
    ):
        refuse_yaml_bomb(text)


@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000, "x: &a [1]\ny: *a", "[" + "1," * 300_000])
def test_text_that_would_burst_another_reader_is_refused(text):
    """libyaml's fast reader ends the process where values nest deeply."""
    with pytest.raises(ValueError, match=r"nests too deeply|by an alias|too many values"):
        refuse_yaml_bomb(text)


def test_text_is_refused_with_the_place():
    with pytest.raises(ValueError, match="in line 2, column 4"):
        parse_yaml("a: 1\n  b: 2")


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("a: 1\n---\nb: [2]\n", [{"a": 1}, {"b": [2]}]),
        ("---\na: 1\n---\n", [{"a": 1}]),
        ("a: 1", [{"a": 1}]),
        ("", [None]),
    ],
)
def test_all_documents_of_a_file_are_read(tmp_path, text, documents):
    (tmp_path / "x.yaml").write_text(text)
    assert read_yaml_documents(tmp_path / "x.yaml") == documents


def test_a_file_of_documents_has_the_limits_of_one(tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1\n---\n" + "[" * 5000)
    with pytest.raises(FormatError, match="nests too deeply"):
        read_yaml_documents(tmp_path / "x.yaml")
