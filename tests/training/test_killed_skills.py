import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.killed_skills import MODES


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    """The folder of what whole and killed runs gave."""
    out = tmp_path_factory.mktemp("skills")
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_skills", str(out)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return out


@pytest.mark.parametrize("mode", MODES)
def test_killed_skills_go_on_to_the_same_bits(killed_runs, mode):
    whole, killed = (load_file(killed_runs / f"{mode}-{kind}.safetensors") for kind in ("whole", "killed"))
    assert whole.keys() == killed.keys() and len(whole["curve"]) == 6
    for key, tensor in whole.items():
        assert torch.equal(killed[key], tensor), key
