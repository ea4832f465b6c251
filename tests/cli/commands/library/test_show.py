import json

from lorary.library import Library


def test_the_card_is_shown_line_by_line(lorary, library):
    code, output, _ = lorary("library", "show", library.url, "poetry")
    assert code == 0
    lines = dict(line.split("  ", 1) for line in output.splitlines() if "  " in line)
    lines = {key: value.strip() for key, value in lines.items()}
    assert lines["base model"] == "tiny-base"
    assert lines["tasks"] == "rhymes, odes"
    assert lines["tags"] == "art"
    assert lines["score loss"] == "1.25"
    assert lines["parameters"] == "20"
    assert "description" not in lines
    assert output.splitlines()[-1] == f"next: lorary library verify {library.url} poetry"


def test_provenance_is_shown(lorary, library, make_expert):
    library.add(make_expert("sums", provenance={"data": "numbers", "config": {"steps": 3}}))
    _, output, _ = lorary("library", "show", library.url, "sums")
    assert "numbers" in output
    assert '{"steps": 3}' in output


def test_what_looks_like_markup_is_plain_text(lorary, library):
    _, output, _ = lorary("library", "show", library.url, "card games")
    assert "[bold]poker[/bold]" in output


def test_the_next_command_is_quoted_for_a_shell(lorary, library):
    _, output, _ = lorary("library", "show", library.url, "card games")
    assert output.splitlines()[-1] == f"next: lorary library verify {library.url} 'card games'"


def test_json_is_the_entry(lorary, library):
    _, output, _ = lorary("library", "show", library.url, "sql", "--json")
    entry = json.loads(output)
    assert entry["name"] == "sql"
    (listed,) = Library.open(library.url).entries(task="queries")
    assert entry["weights_sha256"] == listed.weights_sha256


def test_an_unknown_expert_is_refused_with_the_nearest(lorary, library):
    code, output, errors = lorary("library", "show", library.url, "poerty")
    assert (code, output) == (2, "")
    assert errors == f"error: library {library.url!r} has no expert 'poerty': did you mean 'poetry'?\n"
