import json
import shutil
from pathlib import Path

import pytest
import torch

from lorary.data.synthetic import SYNTHETIC_TASKS
from lorary.library import Library
from tests.cli.commands.train.quick import QUICK
from tests.data.chat_templates import GEMMA


def test_generated_tasks_need_no_data(train_quickly, tmp_path):
    code, output, _ = train_quickly("--tasks", "generated")
    assert code == 0
    library = Library.open(str(tmp_path / "lib"))
    assert sorted(library) == sorted(SYNTHETIC_TASKS)
    assert "experts   12, 8 at a time; rank 2 on 14 layers" in output
    assert "steps     24 in total" in output
    assert output.endswith(f"next: lorary eval {tmp_path / 'lib'} --tasks generated\n")


def test_it_says_what_it_will_do_and_what_came_of_it(train_quickly, tmp_path, write_rows):
    code, output, _ = train_quickly("--tasks", write_rows("poetry.jsonl"), "generated:plurals")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == f"library   {tmp_path / 'lib'} (has 0 experts)"
    assert lines[2] == "tasks     2: poetry, plurals"
    assert f"state     new run, saved in {tmp_path / 'lib-run'}" in lines
    start = lines.index(next(line for line in lines if line.startswith("expert ")))
    assert [line.split()[:2] for line in lines[start + 1 : start + 3]] == [["poetry", "2"], ["plurals", "2"]]
    curves = json.loads((tmp_path / "lib-run" / "curves.json").read_text())
    assert [step for step, _ in curves["poetry"]["train"]] == [1, 2]
    assert (tmp_path / "lib-run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_stored_experts_know_where_they_come_from(train_quickly, tmp_path, tiny_base):
    train_quickly("--tasks", "generated:plurals", "--max-length", "100", "--with-definition", "false")
    library = Library.open(str(tmp_path / "lib"))
    card = library["plurals"].card
    assert library["plurals"].base_model == tiny_base
    assert card.tasks == ("plurals",)
    assert card.provenance["training"]["max_steps"] == 2
    assert card.provenance["prompts"] == {
        "template": "plain",
        "with_definition": False,
        "max_length": 100,
        "truncation": "prompt-middle",
    }
    assert card.provenance["versions"]["torch"] == torch.__version__


def test_what_is_computed_twice_makes_no_other_training(train_quickly):
    """Guards a bug: the same training with gradient checkpointing was refused as another one."""
    for setting in ("true", "false"):
        code, _, errors = train_quickly(
            "--tasks", "generated:plurals", "--training.gradient_checkpointing", setting
        )
        assert code == 0, errors


def test_json_is_all_that_stdout_gets(train_quickly, tmp_path):
    code, output, errors = train_quickly(
        "--tasks", "generated:plurals", "--json", "--training.validate_every", "1"
    )
    found = json.loads(output)
    assert code == 0
    assert found["library"] == str(tmp_path / "lib")
    (expert,) = found["experts"]
    assert (expert["expert"], expert["steps"]) == ("plurals", 2)
    assert expert["best_validation_loss"] > 0
    assert "steps     2 in total" in errors


def test_one_expert_may_learn_all_tasks(train_quickly, tmp_path):
    words = ("--tasks", "generated:plurals", "generated:prices", "--expert", "multi-task")
    code, output, _ = train_quickly(*words)
    assert code == 0
    library = Library.open(str(tmp_path / "lib"))
    assert list(library) == ["multi-task"]
    assert library["multi-task"].card.tasks == ("plurals", "prices")
    assert (tmp_path / "lib-run-multi-task").is_dir()
    assert "experts   1, 1 at a time" in output


def test_yaml_names_tasks_and_settings(lorary, tmp_path, tiny_base, write_rows):
    config = tmp_path / "run.yaml"
    tasks = {
        "poetry": write_rows("a.jsonl"),
        "prose": {"train": write_rows("b.jsonl"), "test": write_rows("c.jsonl", 3)},
    }
    config.write_text(
        json.dumps({"tasks": tasks, "base": tiny_base, "training": {"max_steps": 2, "rank": 1}})
    )
    code, output, _ = lorary(
        "train", str(tmp_path / "lib"), "--config", str(config), "--training.max_steps", "1"
    )
    assert code == 0
    library = Library.open(str(tmp_path / "lib"))
    assert sorted(library) == ["poetry", "prose"]
    assert library["prose"].max_rank == 1
    assert library["prose"].card.provenance["data"]["num_train"] == 30
    assert "steps     2 in total" in output
    assert f"next: lorary library show {tmp_path / 'lib'} poetry" in output


def test_yaml_may_list_tasks(lorary, tmp_path, tiny_base, write_rows):
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps({"tasks": [f"odes={write_rows('a.jsonl')}", write_rows("b.jsonl")]}))
    code, _, _ = lorary("train", str(tmp_path / "lib"), "--config", str(config), "--base", tiny_base, *QUICK)
    assert code == 0
    assert sorted(Library.open(str(tmp_path / "lib"))) == ["b", "odes"]


def test_without_a_bound_examples_are_seen_three_times(lorary, tmp_path, tiny_base, write_rows):
    words = ("--tasks", write_rows("a.jsonl", 20), "--base", tiny_base, "--training.rank", "1", "--json")
    code, output, _ = lorary("train", str(tmp_path / "lib"), *words, "--training.batch_size", "4")
    assert code == 0
    num_train = Library.open(str(tmp_path / "lib"))["a"].card.provenance["data"]["num_train"]
    assert json.loads(output)["experts"][0]["steps"] == -(-3 * num_train // 4)


def test_bad_rows_can_be_skipped_and_are_counted(train_quickly, write_rows, tmp_path):
    path = write_rows("poetry.jsonl")
    with Path(path).open("a") as file:
        file.write('{"input": "no target"}\n')
    code, _, errors = train_quickly("--tasks", path)
    assert (code, "line 31" in errors, path in errors) == (2, True, True)
    assert not (tmp_path / "lib").exists()
    code, output, errors = train_quickly("--tasks", path, "--skip-bad")
    assert code == 0
    assert "tasks     1: poetry\n" in output and errors.startswith("1 bad row skipped (in poetry)\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "nowhere.jsonl"), "there is no task file 'nowhere.jsonl'"),
        (("--tasks", "generated:plural"), "no synthetic task is named 'plural': did you mean 'plurals'"),
        (("--tasks", "generated", "generated:prices"), "two tasks have the name 'prices'"),
        (("--tasks", "generated:plurals", "--expert", "../x"), "'../x'"),
        (("--tasks", "generated:plurals", "--training.rank", "0"), "rank must be at least 1, found 0"),
        (("--tasks", "generated:plurals", "--training.ranc", "3"), "unknown option 'training.ranc': did you"),
        (("--tasks", "generated:plurals", "--base", "no/such"), "no base model 'no/such'"),
        (
            ("--tasks", "generated:plurals", "--template", "chat"),
            "has no chat template: use template 'plain'",
        ),
        (("--tasks", "generated:plurals", "--max-length", "6"), "prompt and target must fit in 6 tokens"),
        (("--tasks", "generated:plurals", "--truncation", "cut"), "truncation"),
        (("--tasks", "generated:plurals", "--training.target_modules", "nothing"), "must match a layer"),
        ((), "tasks"),
    ],
)
def test_bad_input_is_refused_and_leaves_no_library(train_quickly, tmp_path, words, message):
    code, output, errors = train_quickly(*words)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ") or "\nerror: " in errors
    assert message in errors
    assert not (tmp_path / "lib").exists()


def test_an_expert_per_group_of_tasks_knows_its_tasks(train_quickly, tmp_path):
    config = tmp_path / "groups.yaml"
    config.write_text("groups:\n  words: [plurals, past_tense]\n  prices: [prices]\n")
    tasks = ("generated:plurals", "generated:past_tense", "generated:prices", "generated:iso_dates")
    code, output, said = train_quickly("--tasks", *tasks, "--config", str(config))
    assert code == 0, said
    library = Library.open(str(tmp_path / "lib"))
    assert {name: expert.card.tasks for name, expert in library.items()} == {
        "prices": ("prices",),
        "words": ("plurals", "past_tense"),
    }
    assert f"next: lorary library show {tmp_path / 'lib'}" in output
    # An expert per task may have been trained into the same library.
    assert (tmp_path / "lib-run-groups").is_dir()
    assert train_quickly("--tasks", *tasks)[0] == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ('{"words": ["plurls"]}',),
            "group 'words' has the task 'plurls', which is not in --tasks: did you mean",
        ),
        (('{"words": []}',), "group 'words' must name at least one task, each once, found []"),
        (('{"words": ["plurals", "plurals"]}',), "group 'words' must name at least one task, each once"),
        (('{"../x": ["plurals"]}',), "'../x'"),
        (("{}",), "--groups must name at least one expert, found none"),
        (('{"words": ["plurals"]}', "--expert", "all"), "use only one of them"),
    ],
)
def test_groups_that_cannot_be_trained_are_refused(train_quickly, words, complaint, tmp_path, monkeypatch):
    monkeypatch.setattr("lorary.cli.base_model.load_base", None)
    code, _, said = train_quickly("--tasks", "generated:plurals", "--groups", *words)
    assert code == 2
    assert complaint in said
    assert not (tmp_path / "lib").exists()


def test_a_chat_templates_arguments_are_in_the_cards_and_merged_system_turns_are_told(
    lorary, tmp_path, tiny_base
):
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    (base / "chat_template.jinja").write_text(GEMMA + "{{ '!' if is_loud and add_generation_prompt }}")
    turns = [("system", "Be brief."), ("user", "Is it {}?"), ("assistant", "yes")]
    rows = [
        {"messages": [{"role": role, "content": text.format(n)} for role, text in turns]} for n in range(30)
    ]
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--tasks", str(path), "--template", "chat", "--template-args", "is_loud=true"]
    code, output, errors = lorary("train", str(tmp_path / "lib"), *words, "--base", str(base), *QUICK)
    assert code == 0, errors
    assert "the user's first turn, because the chat template refuses system turns\n" in output
    card = Library.open(str(tmp_path / "lib"))["talk"].card
    assert card.provenance["prompts"]["template_args"] == {"is_loud": True}
    code, output, _ = lorary("data", "show", *words[1:], "--base", str(base))
    assert code == 0
    assert "  | Be brief.\n  | \n  | Is it " in output
    # The template's end of turn is no token of this tokenizer's.
    assert "model\n  | !\n  > yes<eos>\n" in output
