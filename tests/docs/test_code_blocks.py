"""Code on pages runs as it is written, on a tiny base model in place of the embedded one."""

import json
import re
import shlex
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from lorary.cli import main
from lorary.experts import write_peft
from lorary.library import Library
from tests.benchmark_rows import write_benchmarks
from tests.cli.tuned_models import save_tuned

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/how-to").glob("*.md")),
]
RESULTS = sorted((ROOT / "docs/results").glob("*.md"))
EXPERTS = ("poetry", "sql")
COMMANDS = ("lorary ", "make ", "python ", "eval python ")
SHORTER = {"--training.max_tokens": "800", "--training.max_steps": "2"}


class Block(NamedTuple):
    """A block of code on a page."""

    line: int
    language: str
    code: str


def list_blocks(page):
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page.read_text()[: each.start()].count("\n") + 1, *each.groups()) for each in found]


def list_commands(block):
    """Give the words of each command line of a block, without prompt signs and comments."""
    if block.language not in ("", "console"):
        return []
    lines = [line.removeprefix("$ ") for line in block.code.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(COMMANDS)]


def shorten(words):
    """Replace the lengths of trainings by short ones."""
    return [SHORTER.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def name(path):
    return str(path.relative_to(ROOT))


@pytest.fixture
def desk(page, tmp_path, monkeypatch, build_tiny_base, draw_expert):
    """A folder with what readers of a page have: task files, adapters, a base model, a library."""
    base = build_tiny_base()
    base.model.save_pretrained(tmp_path / "embedded")
    base.tokenizer.save_pretrained(tmp_path / "embedded")
    monkeypatch.setattr("lorary.models.embedded.unpack_embedded", lambda again=False: tmp_path / "embedded")
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    save_tuned("embedded", "my-finetune")
    Path("data").mkdir()
    files = (f"data/{task}.jsonl" for task in ("poetry", "sql", "prices", "haiku"))
    for file in (*files, "tickets.jsonl", "new.jsonl"):
        rows = [
            {"input": f"{Path(file).stem} {number}?", "target": f"it is {number}."} for number in range(48)
        ]
        Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = "".join(f"What is {number}?,the table,SELECT {number},user\n" for number in range(24))
    Path("sales.csv").write_text("question,context,sql,role\n" + rows)
    write_benchmarks(Path("benchmarks"))
    library = Library.open("my-loras", create=True)
    for each in EXPERTS:
        expert = draw_expert(base, each, rank=8, tasks=(each,))
        expert = replace(expert, base_model="smollm2-135m", card=replace(expert.card, base_fingerprint=None))
        library.add(expert)
        write_peft(expert, f"downloads/{each}-lora")
    write_peft(library["poetry"], "some/peft/folder")
    if re.search(r"lorary (train|library add) ./my-loras", page.read_text()):
        shutil.rmtree("my-loras")  # the page makes it


RUNNING = [
    page
    for page in PAGES
    if any(
        block.language == "python" or any(words[0] == "lorary" for words in list_commands(block))
        for block in list_blocks(page)
    )
]


@pytest.mark.parametrize("page", RUNNING, ids=name)
@pytest.mark.usefixtures("desk")
@pytest.mark.filterwarnings("ignore:folding dequantises")
def test_code_on_a_page_runs_in_the_order_of_the_page(page, capsys):
    if "--quantize" in page.read_text():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages, at their first import
            for package in ("bitsandbytes", "torchao"):
                pytest.importorskip(package)
    namespace = {}
    for block in list_blocks(page):
        if block.language == "python":
            exec(compile(block.code, f"{page.name}, line {block.line}", "exec"), namespace)
        if block.language == "yaml":
            yaml.safe_load(block.code)
        for words in list_commands(block):
            if words[0] == "lorary":
                code = main(shorten(words[1:]))
                told = capsys.readouterr().err
                assert code == 0, f"{page.name}, line {block.line}: {shlex.join(words)}\n{told}"


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=name)
def test_scripts_and_make_targets_that_a_page_names_exist(page):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in list_blocks(page):
        for words in list_commands(block):
            if words[0] == "make":
                assert set(words[1:]) <= targets
            for word in words:
                if word.startswith(("examples/", "bench/")) and word.endswith(".py"):
                    assert (ROOT / word).exists()
