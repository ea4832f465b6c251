import json

import pytest

from lorary.library import Library


def test_a_line_tells_the_expert_its_base_rank_size_tasks_and_tags(lorary, library):
    code, output, errors = lorary("library", "ls", library.url)
    assert (code, errors) == (0, "")
    heading, *lines, _ = output.splitlines()
    assert heading.split() == ["expert", "role", "base", "model", "rank", "parameters", "tasks", "tags"]
    assert [line.split() for line in lines] == [
        ["card", "games", "expert", "tiny-base", "2", "20"],
        ["poetry", "expert", "tiny-base", "2", "20", "rhymes,", "odes", "art"],
        ["sql", "expert", "tiny-base", "2", "20", "queries", "code"],
    ]


def test_it_ends_with_the_next_command(lorary, library):
    _, output, _ = lorary("library", "ls", library.url, "--tag", "code")
    assert output.splitlines()[-1] == f"next: lorary library show {library.url} sql"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["--task", "odes"], ["poetry"]),
        (["--tag", "code"], ["sql"]),
        (["--base", "tiny-base"], ["card games", "poetry", "sql"]),
        (["--base", "tiny-base", "--task", "queries"], ["sql"]),
        (["--task", "odes", "--tag", "code"], []),
        (["--role", "expert"], ["card games", "poetry", "sql"]),
        (["--role", "merge"], []),
    ],
)
def test_filters_narrow_the_list(lorary, library, filters, names):
    _, output, _ = lorary("library", "ls", library.url, "--json", *filters)
    assert [entry["name"] for entry in json.loads(output)] == names


def test_json_has_all_that_is_known(lorary, library):
    _, output, _ = lorary("library", "ls", library.url, "--json", "--task", "odes")
    (entry,) = json.loads(output)
    assert entry["card"]["tasks"] == ["rhymes", "odes"]
    assert entry["card"]["scores"] == {"loss": 1.25}
    assert entry["num_parameters"] == 20


def test_no_name_is_cut_on_a_narrow_screen(lorary, tmp_path, make_expert, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "60")
    name = "a-name-that-is-longer-than-half-of-the-screen-is-wide"
    Library.open(str(tmp_path / "lib"), create=True).add(make_expert(name))
    _, output, _ = lorary("library", "ls", str(tmp_path / "lib"))
    lines = output.splitlines()
    assert not any(line.startswith(name) for line in lines)
    assert name in "".join(line.split(" ")[0] for line in lines[1:])


def test_a_pipe_gets_a_line_per_expert(lorary, library, make_expert):
    name = "a-name-that-is-longer-than-half-of-the-screen-is-wide"
    library.add(make_expert(name, tasks=tuple(f"task-{number}" for number in range(50))))
    _, output, _ = lorary("library", "ls", library.url, "--task", "task-0")
    (line,) = [line for line in output.splitlines() if line.startswith(f"{name} ")]
    assert "task-49" in line


def test_nothing_that_matches_is_said(lorary, library):
    _, output, _ = lorary("library", "ls", library.url, "--task", "chess")
    assert output.startswith(f"no expert matches the filters: library {library.url!r} has 3 experts\n")


def test_an_empty_library_is_said(lorary, tmp_path):
    url = str(tmp_path / "lib")
    Library.open(url, create=True)
    code, output, _ = lorary("library", "ls", url)
    assert code == 0
    assert output == f"library {url!r} is empty\nnext: lorary library add {url} FOLDER\n"
