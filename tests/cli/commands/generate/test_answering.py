"""Prompts of files, and experts with names that mean something else."""

import json

import pytest

from lorary.cli.commands.generate.prompt_file import read_prompts
from lorary.library import Library


def test_only_ends_of_lines_end_a_prompt(tmp_path):
    """A prompt with U+2028 or a form feed was cut into two."""
    text = "one\u2028more\r\ntwo\x0cpages\rthree\x85\n"
    (tmp_path / "prompts.txt").write_bytes(f"\ufeff{text}".encode())
    found = [prompt.text for prompt in read_prompts(tmp_path / "prompts.txt")]
    assert found == ["one\u2028more", "two\x0cpages", "three\x85"]


@pytest.mark.parametrize("is_text", [True, False])
def test_a_prompt_that_is_too_long_is_told_before_the_first_answer(
    lorary, trained_library, tmp_path, monkeypatch, is_text
):
    """Answers of earlier prompts were computed and printed before the error."""
    monkeypatch.setattr("lorary.models.positions.count_positions", lambda model: 40)
    prompts = ["plural of mouse", "", "plural of goose", "long " * 30]
    file = tmp_path / ("prompts.txt" if is_text else "prompts.jsonl")
    lines = prompts if is_text else [json.dumps({"prompt": each}) for each in prompts if each]
    file.write_text("\n".join(lines) + "\n")
    words = ("--prompts", str(file), "--batch-size", "1", "--max-new-tokens", "2", "--expert", "plurals")
    code, output, told = lorary("generate", trained_library, *words)
    text = " ".join(told.split())
    assert (code, output) == (2, "")
    assert f"{str(file)!r}, line {4 if is_text else 3}: the prompt with its answer has" in text
    assert "has 40 positions: shorten it" in text


def test_equal_prompts_of_several_batches_are_sampled_apart(lorary, trained_library, tmp_path):
    """With a seed, the answers of the first batch came again in each other one."""
    (tmp_path / "prompts.txt").write_text("plural of mouse\n" * 4)
    words = ("--prompts", str(tmp_path / "prompts.txt"), "--temperature", "2", "--seed", "1")
    told = (*words, "--expert", "plurals", "--batch-size", "2", "--max-new-tokens", "8")
    code, output, errors = lorary("generate", trained_library, *told)
    assert code == 0, errors
    assert len({json.loads(line)["answer"] for line in output.splitlines()}) == 4
    assert lorary("generate", trained_library, *told)[1] == output


def test_an_expert_of_the_name_auto_answers(lorary, trained_library):
    """The base model answered in its place, without a word."""
    library = Library.open(trained_library)
    library.copy("prices", "auto")
    try:
        told = ("price of tea", "--max-new-tokens", "8", "--expert")
        assert (
            lorary("generate", trained_library, *told, "auto")[:2]
            == lorary("generate", trained_library, *told, "prices")[:2]
        )
    finally:
        del library["auto"]
