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
