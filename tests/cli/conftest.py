import json

import pytest
import torch

from lorary.cli import main
from lorary.experts import Expert, ExpertCard, Factors
from lorary.library import Library


@pytest.fixture
def make_expert():
    def make(name, **card):
        generator = torch.Generator().manual_seed(len(name))
        factors = Factors(torch.randn(2, 6, generator=generator), torch.randn(4, 2, generator=generator))
        return Expert(name, "tiny-base", {"layers.0.proj": factors}, ExpertCard(**card))

    return make


@pytest.fixture
def library(tmp_path, make_expert):
    """A library of three experts."""
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add(make_expert("poetry", tasks=("rhymes", "odes"), tags=("art",), scores={"loss": 1.25}))
    library.add(make_expert("sql", tasks=("queries",), tags=("code",)))
    library.add(make_expert("card games", description="[bold]poker[/bold]"))
    return library


@pytest.fixture
def lorary(capsys):
    """Runs a command line; returns its exit code, and what it wrote to stdout and to stderr."""

    def run(*words):
        code = main(words)
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory, build_tiny_base):
    """The folder of a tiny base model."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    base = build_tiny_base()
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def trained_library(tmp_path_factory, tiny_base, build_tiny_base, draw_expert):
    """The folder of a library of three strong experts for the tiny base, named after generated tasks."""
    from dataclasses import replace

    url = str(tmp_path_factory.mktemp("libraries") / "trained")
    library = Library.open(url, create=True)
    for name in ("plurals", "prices", "past_tense"):
        expert = replace(draw_expert(build_tiny_base(), name, tasks=(name,)), base_model=tiny_base)
        # The folder holds the same weights in a dtype of the machine's choice: its name is what counts.
        library.add(replace(expert, card=replace(expert.card, base_fingerprint=None)))
    return url


@pytest.fixture
def write_rows(tmp_path):
    """Writes a file of rows, questions numbered from ``start``; returns its path."""

    def write(name, count=30, start=0):
        rows = [{"input": f"{name} {start + n}", "target": f"answer {n}"} for n in range(count)]
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write
