"""Everything that is left out is told once, in the same words by every command."""

import json
import shutil

import pytest

from lorary.cli.left_out import PROMPTS, ROWS, describe_prompts, describe_rows
from lorary.data import Example, Task
from lorary.data.prompt_counts import PromptCounts
from tests.data.chat_templates import GEMMA

MERGED = "with the system turn in the user's first turn, because the chat template refuses system turns"


@pytest.fixture
def gemma_base(tiny_base, tmp_path):
    """A tiny base model whose chat template refuses system turns."""
    folder = shutil.copytree(tiny_base, tmp_path / "gemma")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": GEMMA}))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    return str(folder)


@pytest.fixture
def talks(tmp_path):
    """Thirty conversations with a system turn, one of them twice, one too long, and an answer that is bad."""
    rows = [
        {"system": "Be brief.", "question": f"What is {n}?" + " Say." * 300 * (n == 7), "answer": f"{n}"}
        for n in range(30)
    ]
    rows = [{**row, "id": n} for n, row in enumerate(rows)]
    bad = {"question": "Who?", "answer": "You.", "label": False}
    path = tmp_path / "plurals.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, {**rows[3], "id": 99}, bad, {"x": 1})))
    return str(path)


def find_lines(text):
    """List what a command says is left out, without the names of tasks."""
    words = [what for _, what in (*ROWS.values(), *PROMPTS.values())]
    lines = [line for line in text.splitlines() if "unused columns" in line or any(w in line for w in words)]
    return [line.partition(" (in ")[0] for line in lines]


def test_every_command_says_the_same_words_once(lorary, talks, gemma_base, trained_library, tmp_path):
    reading = ("--skip-bad", "--template", "chat")
    rows = [
        "unused columns: id",
        "1 bad row skipped",
        "1 duplicate left out",
        "1 answer marked as bad, left out",
    ]
    _, output, errors = lorary("data", "show", talks, *reading, "--base", gemma_base)
    assert [line[10:] for line in find_lines(output)] == [*rows, f"30 examples {MERGED}"] and errors == ""

    words = ("--tasks", talks, *reading, "--base", gemma_base)
    quick = ("--training.max_steps", "1", "--training.rank", "1", "--truncation", "skip")
    _, output, errors = lorary("train", str(tmp_path / "lib"), *words, *quick)
    assert find_lines(errors) == rows
    assert [line[:10] for line in find_lines(output)] == ["prompts   "] * 2
    trained = {line[10:] for line in find_lines(output)}
    assert "1 example left out as too long" in trained

    few = ("--routes", "base", "--evaluation.split", "train", "--evaluation.num_examples", "null")
    _, _, errors = lorary("eval", str(tmp_path / "lib"), *words, *few)
    assert find_lines(errors)[:4] == rows
    assert find_lines(errors)[4] == "measured examples: 1 example left out as too long"
    assert find_lines(errors)[5].endswith(f" examples {MERGED}") and len(find_lines(errors)) == 6


def test_of_very_many_turns_the_first_are_counted_and_it_says_so(lorary, talks, gemma_base, monkeypatch):
    monkeypatch.setattr("lorary.cli.commands.data.show.run.MOST_TURNS", 30)
    words = ("--skip-bad", "--template", "chat", "--base", gemma_base)
    _, output, _ = lorary("data", "show", talks, *words)
    assert f"prompts   10 examples {MERGED} (of the first 10 examples)\n" in output
    (found,) = json.loads(lorary("data", "show", talks, *words, "--json")[1])
    assert (found["num_counted"], found["num_merged"], found["num_rewritten"]) == (10, 10, 0)


def test_each_kind_of_change_has_its_words():
    """Guards a count that a reader or a template keeps and nobody prints."""
    task = Task("a", {"test": (Example("q", ("a",)),)}, num_overlapping=2, num_rejected=1, unused=("id",))
    assert describe_rows({"a": task, "b": task}) == {
        "unused columns: id": ["a", "b"],
        "4 examples left out, because a later split has the same input": ["a", "b"],
        "2 answers marked as bad, left out": ["a", "b"],
    }
    assert set(ROWS) == {name for name in Task.__dataclass_fields__ if name.startswith("num_")}
    assert set(PROMPTS) == set(PromptCounts.__dataclass_fields__)
    told = list(describe_prompts([PromptCounts(num_cut=1), PromptCounts(num_rewritten=1), PromptCounts()]))
    assert told[0] == "1 prompt truncated to the maximum length"
    assert told[1].startswith("1 finished conversation not beginning with the prompt")
