import json

import pytest

ROWS = [
    {"question": f"How many in {n}?", "context": f"CREATE TABLE t{n}\n(id INT)", "answer": f"{n}", "id": n}
    for n in range(20)
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_a_file_is_described_and_an_example_shows_prompt_and_target(lorary, file):
    code, output, errors = lorary("data", "show", file)
    assert code == 0
    assert "task      sums\nformat    pair\nexamples  20: " in output
    assert "rows      unused columns: id\n" in output
    shown = output.partition("example   | prompt, > target\n")[2].splitlines()
    assert [line[:4] for line in shown[:-1]] == ["  | "] * 5 + ["  > "]
    assert (
        shown[0].startswith("  | CREATE TABLE t") and shown[1] == "  | (id INT)" and shown[4] == "  | Answer:"
    )
    assert errors == ""


def test_json_holds_the_same(lorary, file):
    code, output, _ = lorary("data", "show", file, "--json", "--format", "pair")
    (found,) = json.loads(output)
    assert code == 0
    assert (found["task"], found["formats"], found["unused"]) == ("sums", ["pair"], ["id"])
    assert sum(found["examples"].values()) == 20 and found["prompt"].endswith("\nAnswer:")


def test_columns_can_be_mapped(lorary, file):
    code, output, _ = lorary("data", "show", file, "--columns", "input=question", "target=context")
    assert (
        code == 0 and "format    columns\n" in output and "rows      unused columns: answer, id\n" in output
    )
    code, _, errors = lorary("data", "show", file, "--columns", "input=question", "target")
    assert code == 2 and "columns must name each part once" in errors
    code, _, errors = lorary("data", "show", file, "--columns", "input=query", "target=context")
    assert code == 2 and "there is no column 'query' for the input" in errors


def test_turns_and_rejected_answers_are_counted(lorary, tmp_path):
    roles = ["user", "assistant"] * 2
    talk = [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps({"messages": talk, "label": good}) + "\n" for good in (True, False)))
    code, output, errors = lorary("data", "show", str(path), "--turns", "all")
    assert (
        code == 0 and "examples  2: " in output and "rows      1 answer marked as bad, left out\n" in output
    )
    assert errors == ""


def test_a_base_model_shows_its_tokens_and_its_chat_template(lorary, file, tiny_base):
    code, output, _ = lorary("data", "show", file, "--base", tiny_base)
    assert code == 0 and "  > " in output
    code, _, errors = lorary("data", "show", file, "--template", "chat")
    assert code == 2 and "--template chat needs a base model" in errors


def test_an_unknown_format_is_refused_with_the_known_ones(lorary, file):
    code, _, errors = lorary("data", "show", file, "--format", "alpacca")
    assert code == 2 and "alpacca" in errors and "alpaca" in errors


def test_a_definition_stands_apart_from_its_label(lorary):
    """Guards the line ``definitionCount the noun up to two.``"""
    _, output, _ = lorary("data", "show", "synthetic:plurals")
    assert "definition Count the noun up to two.\n" in output
