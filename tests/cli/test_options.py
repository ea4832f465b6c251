import os
import re

import pytest
import yaml


@pytest.fixture
def config(tmp_path, library):
    path = tmp_path / "options.yaml"
    path.write_text(f"library: {library.url}\ntask: rhymes\njson: true\n")
    return str(path)


def test_options_come_from_a_file(lorary, config):
    code, output, _ = lorary("library", "ls", "--config", config)
    assert code == 0
    assert '"name": "poetry"' in output
    assert '"name": "sql"' not in output


def test_the_command_line_wins_over_the_file(lorary, config):
    _, output, _ = lorary("library", "ls", "--config", config, "--task", "queries")
    assert '"name": "sql"' in output
    assert '"name": "poetry"' not in output


def test_a_missing_option_is_named(lorary):
    code, _, errors = lorary("library", "show", "./lib")
    assert code == 2
    assert errors == ("error: the following arguments are required: name: see lorary library show --help\n")


def test_a_file_that_is_missing_is_named(lorary):
    code, _, errors = lorary("library", "ls", "--config", "missing.yaml")
    assert code == 2
    assert errors == "error: option file 'missing.yaml' does not exist: check --config\n"


@pytest.mark.parametrize("content", ["- a\n- b\n", "just words", ""])
def test_a_file_that_maps_nothing_is_refused(lorary, tmp_path, content):
    path = tmp_path / "options.yaml"
    path.write_text(content)
    code, _, errors = lorary("library", "ls", "--config", str(path))
    assert code == 2
    assert f"{str(path)!r} must map options to values, found " in errors


def test_a_file_that_is_not_yaml_is_refused_in_one_line(lorary, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("library: [a\n: }")
    code, _, errors = lorary("library", "ls", "--config", str(path))
    assert code == 2
    assert errors.startswith(f"error: {str(path)!r} is not a YAML file: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &a [x]\nb: &b [" + "*a, " * 500 + "]\nc: [" + "*b, " * 500 + "]", "too many values"),
        ("task: " + "[" * 5000, "nests too deeply"),
        ("task: !!python/object/apply:os.system ['true']", "a value of the kind"),
        ("1: x", "must map options to values"),
        ("? [a]\n: x", "not a YAML file|must map options"),
        ('library: "a\\0b"', "must not contain a null character"),
        ("".join(f"unknown{n}: 1\n" for n in range(1000)), "…$"),
        ("x" * 300 + ": 1", "unknown option"),
    ],
)
def test_a_hostile_file_of_options_is_refused_shortly(lorary, tmp_path, content, message):
    path = tmp_path / "options.yaml"
    path.write_text(content)
    code, output, errors = lorary("library", "ls", "--config", str(path))
    assert (code, output) == (2, "")
    assert re.search(message, errors.rstrip("\n"))
    assert len(errors) < 1200 and errors.count("\n") == 1


def test_a_value_in_a_file_that_is_a_bomb_itself_is_refused(lorary, tmp_path):
    """jsonargparse reads texts as YAML again; its fast reader ends the process where they nest deeply."""
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump({"library": "lib", "task": "[" * 50_000}))
    code, _, errors = lorary("library", "ls", "--config", str(path))
    assert (code, "nests too deeply" in errors) == (2, True)
    code, _, errors = lorary("library", "ls", "lib", "--task=" + "- " * 50_000)
    assert (code, "nests too deeply" in errors) == (2, True)


@pytest.mark.parametrize("place", ["/dev/zero", "fifo", "."])
def test_options_are_read_from_a_regular_file_only(lorary, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    code, _, errors = lorary("library", "ls", "--config", place)
    assert code == 2
    assert "must be a regular file" in errors or "Is a directory" in errors


@pytest.mark.parametrize("value", ["options.yaml", "/dev/zero", "os.system", "{rank: 1}"])
def test_a_group_of_options_takes_no_value(lorary, value):
    """jsonargparse would read any file, or import any name, that stands there."""
    for words in (["--training", value], [f"--training={value}"]):
        code, _, errors = lorary("train", "lib", "--tasks", "generated", *words)
        assert (code, errors) == (
            2,
            "error: --training is a group of options and takes no value: use --training.NAME, or a file with "
            "--config\n",
        )


@pytest.mark.parametrize("value", ["0x" + "f" * 400, "9" * 400, "1e400", "nan"])
def test_a_number_out_of_range_is_refused(lorary, value):
    code, _, errors = lorary("generate", "lib", "hi", f"--temperature={value}")
    assert (code, errors.count("\n")) == (2, 1)
    assert "see lorary generate --help" in errors or "--temperature" in errors


def test_help_has_no_escaped_control_character(lorary):
    """Guards the help of --print_config, which read ``--print_config \\x08[=flags]``."""
    code, output, _ = lorary("library", "ls", "--help")
    assert code == 0
    assert "--print_config" in output
    assert "\\x08" not in output
    assert "\b" not in output
