"""Every command with arguments that nobody sane would give: an explanation and exit 2, and no traceback."""

import os
import random
import re
import shlex

import pytest

from lorary.cli.command_table import COMMANDS, load_command
from lorary.cli.options import build_parser
from lorary.files.quoting import is_visible

NUM_TRIALS = int(os.environ.get("LORARY_FUZZ_TRIALS", "12"))
SEED = int(os.environ.get("LORARY_FUZZ_SEED", "0"))

WORDS = [
    *("", " ", "-", "=", ",", "a=b", "é漢😀", "a\nb", "x" * 5000, "%s%n{0}", "$(touch x)", "[red]x[/red]"),
    *("\x1b[31mred", "\x9b2J", "a\u202eb", "\u200b", "\r", "\x07", "\udcff", "\ud800", "\U000e0041"),
    *(
        "0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-400",
        "9" * 30,
        "9" * 5000,
        "0x" + "f" * 300,
        "1e3",
        "99%",
    ),
    *("true", "null", "~", "[]", "{}", "[[[", "{a: 1}", "a: b: c", "[1, two, null]", "{a: {b: [c]}}"),
    *(
        "[" * 5000,
        "- " * 5000,
        "x: &a [1, 1]\ny: [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a]",
    ),
    *(
        "!!python/object/apply:os.system ['touch x']",
        "{class_path: os.system, init_args: {command: touch x}}",
    ),
    *(
        "..",
        "../..",
        "/",
        "/dev/null",
        "/dev/full",
        "/dev/zero",
        "/proc/self/mem",
        "lib/../lib",
        "lib//",
        "./",
    ),
    *("file:///nowhere", "memory://x", "s3://x/y", "zip://x", "a::b", "simplecache::memory://x", "hf:a/b"),
    *("hf:" + "a" * 300, "generated", "generated:plurals", "generated:nope", "cuda:99", "cpu", "meta", "CON"),
    *("poetry", "poetry,sql", "poetry=nan", "poetry=1e400", "density=nan", "arrow", "calibrated", "single"),
]
NUMBERS = [
    "0",
    "1",
    "2",
    "-1",
    "1000000",
    "9" * 19,
    "9" * 30,
    "9" * 400,
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "1e-300",
]
LIKELY = {
    "out": ["out", "made/x", "x.yaml", "lib", "lib/x", "lib/poetry/expert.json", "s3://x/y"],
    "method": ["linear", "ties", "slerp", "cat", "tsv", "regmean", "lorahub", "subtract", "core", "cosine"],
    "experts": ["poetry", "poetry,sql", "poetry,poetry"],
    "general": ["poetry"],
    "weights": ["1,1,1", "poetry=1,sql=2", "nan,1,1", "1e308,1e308,1e308", "poetry=1"],
    "options": [
        "density=0.5",
        "density=nan",
        "density=[",
        "x=1",
        "scale=1e308",
        "density={filter: a, value: b}",
    ],
    "rank": ["1", "full", "kept", "99%", "0%", "nan%", "1e400%"],
    "tasks": ["good.jsonl", "generated:plurals", "a=good.jsonl", "bad.jsonl"],
    "metrics": ["loss", "exact_match,loss", "loss,loss", ","],
    "routes": ["base", "base,arrow", "expert:poetry", "expert:", "oracle", ",,"],
    "router": ["arrow", "none", "phatgoose", "single"],
    "recipe": ["hostile.yaml", "recipe.yaml"],
    "config": ["hostile.yaml", "options.yaml"],
    "dtype": ["float16", "float64"],
    "task": ["rhymes"],
    "device": ["cpu", "cuda:0", "meta", "cpu:-1"],
}
# Commands that would load a base model.
LOADING = ("train", "quickstart", "eval", "report", "generate", "build")
PLACES = [
    "lib",
    "lib/poetry",
    "empty",
    "fifo",
    "file",
    "missing/x",
    "loop",
    "hostile.yaml",
    "bad.jsonl",
    "link",
]


@pytest.fixture
def hostile_folder(tmp_path, monkeypatch, library):
    """A folder to work in, with a sound library and much that is no library."""
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "lib").rename(folder / "lib")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "file").write_bytes(b"\xff\x00\x1b[31m")
    (folder / "loop").symlink_to("loop")
    (folder / "link").symlink_to("/dev/zero")
    (folder / "hostile.yaml").write_text('a: &a [x]\nb: [*a, "\\e[31m"]\n')
    (folder / "bad.jsonl").write_text('{"input": "a", "target": 1}\n[' + "[" * 5000)
    (folder / "recipe.yaml").write_text(
        "merge_method: ties\nmodels: [{model: poetry}, {model: sql}]\nrank: 1e999\n"
    )
    (folder / "options.yaml").write_text("library: lib\ntasks: {a: good.jsonl}\nout: new\n")
    (folder / "good.jsonl").write_text('{"input": "a", "target": "b"}\n' * 3)
    monkeypatch.chdir(folder)
    return folder


def draw_value(rng, action):
    """Draw what gets past the parser of options about as often as what does not."""
    kind, chance = str(getattr(action, "_typehint", "")), rng.random()
    likely = list(LIKELY.get(action.dest, ()))
    if "Literal" in kind:
        likely += re.findall(r"'([^' ]*)'", kind.replace("<class '", ""))
    if re.search("int|float", kind):
        likely += NUMBERS
    if chance < 0.7 and likely:
        return rng.choice(likely)
    return rng.choice(PLACES) if chance < 0.85 else rng.choice(WORDS)


def draw_words(rng, name):
    """Draw a command line; ``--base`` names no model, so that none is loaded."""
    actions = [action for action in build_parser(name, load_command(name))._actions if action.dest != "help"]
    words = []
    for action in actions:
        if not action.option_strings:
            likely = "lib" if action.dest == "library" else rng.choice(["poetry", "good.jsonl"])
            words += [likely if rng.random() < 0.75 else draw_value(rng, action)]
    options = [action for action in actions if action.option_strings and action.dest != "base"]
    required = [action for action in options if action.required or action.dest == "out"]
    for action in [
        *(action for action in required if rng.random() < 0.95),
        *rng.choices(options, k=rng.randint(0, 3)),
    ]:
        option = rng.choice(action.option_strings)
        if action.nargs == 0:
            words.append(option)
        elif rng.random() < 0.5:
            words.append(f"{option}={draw_value(rng, action)}")
        else:
            words += [option, draw_value(rng, action)]
    return [*words, *(["--base", "no/such/model"] if name in LOADING or "--fold" in words else [])]


def check_outcome(code, output, errors):
    assert code in (0, 2)
    assert "Traceback" not in errors and "Traceback" not in output
    assert all(is_visible(character) or character in "\n\t" for character in output + errors)
    assert len(errors) < 1500
    if code == 2 and "problem" not in output:
        assert errors.startswith("error: ") or "\nerror: " in errors


def snapshot(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.parent.iterdir() if path != folder}


@pytest.mark.parametrize("name", COMMANDS)
def test_hostile_arguments_are_explained(lorary, hostile_folder, name):
    rng = random.Random(f"{SEED} {name}")
    around = snapshot(hostile_folder)
    for _ in range(NUM_TRIALS):
        words = draw_words(rng, name)
        code, output, errors = lorary(*name.split(), *words)
        try:
            check_outcome(code, output, errors)
        except AssertionError as error:
            raise AssertionError(
                f"lorary {name} {shlex.join(words)[:2000]}\n{code}\n{errors[:3000]}"
            ) from error
        assert snapshot(hostile_folder) == around
