"""Commands that are printed as the next ones run as they are printed, and mean what the first one meant."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lorary.cli import main
from lorary.cli.command_table import COMMANDS, load_command
from lorary.cli.commands import build
from lorary.cli.options import read_options
from lorary.cli.repeat import repeat_router, repeat_tasks
from lorary.cli.tasks import load_tasks, read_task_template
from lorary.evaluation import Result
from lorary.library import Library
from lorary.library.lock import LockedRouter, lock_library, write_lock
from lorary.routing import ROUTERS
from tests.cli.tuned_models import save_tuned
from tests.data.chat_templates import CHATML

READING = ("--columns", "input=frage,ort", "target=antwort")
CHAT = ("--template", "chat", "--template-args", "is_loud=true")
TASKS = ("--tasks", "a.jsonl", "b.jsonl", *READING, *CHAT)
QUICK = ("--training.max_steps", "1", "--training.rank", "2", "--training.batch_size", "2")
FEW = ("--evaluation.num_examples", "2")
SMALL = ("--traced-examples", "1", "--transfer-examples", "0", "--num-samples", "0", *FEW)
# Words in capitals stand for what only the user knows.
PLACEHOLDERS = {
    "PROMPT": ["Is it?"],
    "NAME": ["merged"],
    "FOLDER": ["lib/a"],
    "NEW_LIBRARY": ["same"],
    "CLUSTER_LIBRARY": ["clusters"],
    "TASKS": ["a.jsonl", "b.jsonl", *READING, *QUICK],
}
# Command -> command lines whose next commands are run.
PRINTING = {
    "train": [
        ["new", "--base", "base", *TASKS, *QUICK],
        ["new", "--base", "base", *TASKS, *QUICK, "--expert", "all"],
    ],
    "eval": [
        ["lib", *TASKS, *FEW, "--routes", "base,arrow", "--arrow.top_k", "1", "--metrics", "loss"],
        ["lib", *TASKS, *FEW, "--routes", "base", "--out", "out"],
        ["--base", "base", *TASKS, *FEW],
    ],
    "report": [
        ["lib", *TASKS, *SMALL, "--routes", "base", "--router", "arrow", "--arrow.top_k", "1"],
        ["lib", *TASKS, *SMALL, "--routes", "base", "--router", "mean_activation"],
    ],
    "build": [["lib", "--out", "model", "--router", "uniform"]],
    "generate": [
        ["lib", "Is it?", "--max-new-tokens", "2", "--router", "arrow", "--arrow.top_k", "1", *CHAT]
    ],
    "merge": [
        ["lib", "--dry-run", "--method", "linear", "--experts", "a,b", "--weights", "1", "2", "--rank", "2"],
        ["lib", "--dry-run", "--recipe", "recipe.yaml", "--out", "both"],
        ["lib", "--dry-run", "--method", "regmean", *TASKS],
        ["lib", "--out", "both"],
        ["lib", "--out", "./both"],
        ["lib", "--out", "./other/a"],
    ],
    "subtract": [["lib", "a", "--out", "rest"]],
    "adapt": [
        ["lib", *TASKS[:1], "c=a.jsonl", *TASKS[3:], "--method", "average", "--shots", "4", *QUICK[:2]],
        ["lib", *TASKS[:1], "c=a.jsonl", *TASKS[3:], "--method", "fresh,average", "--shots", "4", *QUICK[:2]],
    ],
    "transfer": [["lib", *TASKS[:1], "c=a.jsonl", *TASKS[3:], "--starts", "general", *QUICK[:2]]],
    "run": [[]],
    "prototypes": [["lib"]],
    "calibrate": [["lib"]],
    "cluster": [["lib", "--num-clusters", "2"]],
    "export": [["lib", "a", "--out", "adapter"]],
    "library ls": [["lib"], ["lib", "--tag", "none"], ["empty"]],
    "library show": [["lib", "a"]],
    "library add": [["lib", "lib/a", "--name", "again"]],
    "library rm": [["lib", "a"]],
    "library rename": [["lib", "a", "other"]],
    "lock": [["lib"]],
    "sync": [["lib.lock", "--sources", "lib", "--out", "synced"]],
    "extract": [["base", "tuned", "--rank", "2", "--out", "extracted"]],
    "library copy": [["lib", "a", "other"]],
    "library verify": [["lib"]],
    "library prune": [["lib"]],
    "library settle": [["lib"]],
    "library tag": [["lib", "a", "--add", "good"]],
    "quickstart": [["--out", "quick", "--base", "base", "--max-steps", "2", "--num-tests", "2"]],
}
RECIPE = """
name: first
models: [{model: a}, {model: b}]
merge_method: linear
---
models: [{model: first}, {model: a}]
merge_method: linear
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, tiny_base):
    """A folder with a base model, two task files and a library trained on them with a chat template."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(tiny_base, folder / "base")
    (folder / "base" / "chat_template.jinja").write_text(CHATML + "{{ 'AH' if is_loud }}")
    for name in ("a", "b"):
        rows = [{"frage": f"{name} {n}?", "ort": "here", "antwort": f"yes {n}"} for n in range(30)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    save_tuned(tiny_base, folder / "tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "lib", "--base", "base", *TASKS, *QUICK, "--training.rank", "4"]) == 0
        Library.open("empty", create=True)
        router = LockedRouter(name="arrow", options={"top_k": 1, "temperature": 1.0})
        write_lock(lock_library("lib", router=router), "lib.lock")
    return folder


@pytest.fixture
def inside(workplace, tmp_path, monkeypatch):
    """A copy of the workplace, as the working directory."""
    shutil.copytree(workplace, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def find_next(output):
    """Split the one next command that an output ends with."""
    *others, last = output.splitlines()
    assert last.startswith("next: lorary ") and not any(line.startswith("next: ") for line in others)
    return shlex.split(last)[2:]


@pytest.mark.parametrize(
    ("command", "words"), [(name, words) for name, lines in PRINTING.items() for words in lines]
)
def test_a_printed_command_runs_as_printed(lorary, inside, command, words):
    code, output, errors = lorary(*command.split(), *words)
    assert code == 0, errors
    words = [real for word in find_next(output) for real in PLACEHOLDERS.get(word, [word])]
    code, _, errors = lorary(*words)
    assert code == 0, errors


def test_every_command_that_prints_one_is_tried():
    folder = Path(build.__file__).parent.parent
    printing = set()
    for name, listing in COMMANDS.items():
        modules = [module for module in (listing.options, listing.run) if module]
        texts = [(folder / f"{module.replace('.', '/')}.py").read_text() for module in modules]
        texts += [path.read_text() for path in folder.glob(f"{name}/*.py")]
        if any("print_next(" in text for text in texts):
            printing.add(name)
    assert printing == set(PRINTING)


def test_what_was_trained_is_measured_with_the_same_prompts_and_answers_to_them(lorary, inside):
    """Guards next commands without the template and the columns that training had."""
    long = ("--max-length", "600")
    _, output, _ = lorary(
        "train", "new", "--base", "base", *TASKS, *QUICK, *long, "--with-definition", "false"
    )
    words = find_next(output)
    assert words == ["eval", "new", *TASKS, "--with-definition", "false", "--evaluation.max_length", "600"]
    assert lorary(*words, *FEW, "--routes", "base", "--out", "out")[0] == 0
    settings = Result.from_json(Path("out/results.json")).headers[0]["settings"]
    assert "ChatTemplate(with_definition=False, template_args={'is_loud': True})" in settings["template"]
    for command in (
        ["build", "new", "--out", "model"],
        ["merge", "new", "--out", "both"],
        ["prototypes", "new"],
    ):
        assert " --template chat --template-args is_loud=true" in lorary(*command)[1]


def test_a_measurement_is_repeated_with_all_its_options(lorary, inside):
    words = ("--routes", "base,arrow", "--arrow.top_k", "1", "--against", "arrow", *FEW)
    _, output, _ = lorary("eval", "lib", *TASKS, *words)
    assert find_next(output) == ["eval", "lib", *TASKS, *words, "--out", "results"]
    lorary(*find_next(output))
    header = Result.from_json(Path("results/results.json")).headers[0]["settings"]
    assert header["routes"][1]["options"]["top_k"] == 1


def test_words_after_two_dashes_stay_behind_them(lorary, inside):
    _, output, _ = lorary("generate", "--max-new-tokens", "2", "--", "lib", "-Is it?")
    assert find_next(output) == [
        "generate",
        "--max-new-tokens",
        "2",
        "--show-experts",
        "--",
        "lib",
        "-Is it?",
    ]


def read(name, *words):
    return read_options(name, load_command(name), words)


def test_options_from_yaml_become_words(inside):
    tasks = {"first": "a.jsonl", "second": "b.jsonl"}
    config = {
        "tasks": tasks,
        "columns": {"input": ["frage", "ort"], "target": "antwort"},
        "template": "chat",
        "template_args": {"is_loud": True, "mood": "true", "place": "here"},
        "skip_bad": True,
        "turns": "all",
    }
    Path("c.yaml").write_text(json.dumps(config))
    options = read("train", "lib", "--config", "c.yaml")
    words = repeat_tasks(options)
    assert words[:3] == ["--tasks", "first=a.jsonl", "second=b.jsonl"]
    again = read("eval", "lib", *words)
    assert load_tasks(again) == load_tasks(options)
    assert read_task_template(again) == read_task_template(options)
    Path("c.yaml").write_text(json.dumps({"tasks": {"first": {"train": "a.jsonl", "test": "b.jsonl"}}}))
    assert repeat_tasks(read("train", "lib", "--config", "c.yaml")) == []


@pytest.mark.parametrize("router", ROUTERS)
def test_a_routers_options_become_words(router):
    kind = ROUTERS[router].config
    given = {"weights": {"a": 0.5}, "expert": "true", "top_k": 1}
    given = {name: value for name, value in given.items() if name in kind.__dataclass_fields__}
    words = [word for name, value in given.items() for word in (f"--{router}.{name}", str(value))]
    options = read("report", "lib", "--tasks", "a.jsonl", "--router", router, *words, "--combine", "factors")
    repeated = repeat_router(options, router, kind)
    again = read("report", "lib", "--tasks", "a.jsonl", *repeated)
    assert repeated[-2:] == ["--combine", "factors"]
    assert again.get(router) == options.get(router) and again.router == router
    default = read("report", "lib", "--tasks", "a.jsonl", "--router", router)
    assert repeat_router(default, router, kind) == ["--router", router]


def test_experts_of_several_base_models_are_listed_next(lorary, inside):
    library = Library.open("lib")
    library.add(replace(library["b"], base_model="another"), name="c")
    _, output, _ = lorary("prototypes", "lib")
    assert find_next(output) == ["library", "ls", "lib"]
