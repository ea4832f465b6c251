"""Prompts of files, and experts with names that mean something else."""

import json

from lorary.cli.commands.generate.prompt_file import read_prompts
from lorary.library import Library


def test_only_ends_of_lines_end_a_prompt(tmp_path):
    """A prompt with U+2028 or a form feed was cut into two."""
    text = "one\u2028more\r\ntwo\x0cpages\rthree\x85\n"
    (tmp_path / "prompts.txt").write_bytes(f"\ufeff{text}".encode())
    assert read_prompts(tmp_path / "prompts.txt") == ["one\u2028more", "two\x0cpages", "three\x85"]


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
