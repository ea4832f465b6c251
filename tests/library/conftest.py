"""Libraries to test on, local and in memory, and small experts to put in them."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lorary
from lorary.experts import Expert, ExpertCard, Factors
from lorary.library import Library
from lorary.library.storage.opening import STORAGES
from tests.library.toy_hub import ToyHub


def build_expert(
    name: str = "poetry", seed: int = 0, base: str = "tiny", dtype: torch.dtype = torch.float32, **card
) -> Expert:
    """An expert with a square and an oblong layer of different ranks."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"layers.0.q_proj": (8, 2, 8), "layers.0.up_proj": (8, 3, 12)}
    factors = {
        path: Factors(
            torch.randn(rank, inputs, generator=draw).to(dtype),
            torch.randn(outputs, rank, generator=draw).to(dtype),
        )
        for path, (inputs, rank, outputs) in shapes.items()
    }
    return Expert(name, base, factors, ExpertCard(**card))


def equal_experts(one: Expert, other: Expert) -> bool:
    """Whether two experts have the same card and the same factors, bit for bit."""
    return (
        (one.name, one.base_model, one.card) == (other.name, other.base_model, other.card)
        and one.factors.keys() == other.factors.keys()
        and all(
            torch.equal(mine, its)
            for path in one.factors
            for mine, its in zip(one.factors[path], other.factors[path], strict=True)
        )
    )


@pytest.fixture(scope="session")
def make_expert() -> Callable[..., Expert]:
    return build_expert


@pytest.fixture(scope="session")
def same() -> Callable[[Expert, Expert], bool]:
    return equal_experts


@pytest.fixture(params=["local", "memory", "toyhub"])
def url(request, tmp_path, monkeypatch) -> str:
    """Where a library can be made: every test with it runs on each kind of storage."""
    monkeypatch.setitem(STORAGES, "toyhub", ToyHub)
    return str(tmp_path / "lib") if request.param == "local" else f"{request.param}://{uuid.uuid4().hex}"


@pytest.fixture
def library(url) -> Library:
    return Library.open(url, create=True)


@pytest.fixture
def local(tmp_path) -> Library:
    return Library.open(tmp_path / "lib", create=True)


@pytest.fixture(scope="session")
def run_script() -> Callable[..., str]:
    """Run a script of this folder in a process of its own and return what it printed."""

    def run(script: str, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name(script), *map(str, arguments)],
            env={"PYTHONPATH": str(Path(lorary.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def run_faults(run_script, tmp_path):
    """Let faults of one kind happen to libraries, in memory where there is a disk of that kind."""
    place = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path

    def run(kind):
        folder = place / f"lorary-{os.getpid()}-{kind}"
        try:
            return json.loads(run_script("faults.py", folder, kind))[kind]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run
