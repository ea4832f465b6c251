import pytest


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
    assert errors == "error: No such file or directory: 'missing.yaml': check the path\n"


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
