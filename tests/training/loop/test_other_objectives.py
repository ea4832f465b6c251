"""The contract of the loop: what lorary does not know of is trained, killed and taken up like all else."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy_objectives import TOYS, build_base


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    """The folder of what whole and killed runs gave."""
    out = tmp_path_factory.mktemp("toys")
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.toy_objectives", str(out)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return out


@pytest.mark.parametrize("toy", TOYS)
def test_a_killed_run_goes_on_to_the_same_bits(killed_runs, toy):
    whole, killed = (load_file(killed_runs / f"{toy}-{kind}.safetensors") for kind in ("whole", "killed"))
    assert whole.keys() == killed.keys() and {"poetry", "sql", "law"} < whole.keys()
    for key, tensor in whole.items():
        assert tensor.any() and torch.equal(killed[key], tensor), key


@pytest.mark.parametrize("toy", TOYS)
def test_a_unit_trained_with_others_equals_the_one_trained_alone(toy):
    together = TOYS[toy](build_base(), None)
    alone = TOYS[toy](build_base(), None, ["sql"])
    for key, tensor in together["sql"][0].items():
        torch.testing.assert_close(alone["sql"][0][key], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("toy", TOYS)
def test_training_lowers_the_loss(toy):
    for _, progress in TOYS[toy](build_base(), None).values():
        curve = [loss for _, loss in progress.train_curve]
        assert min(curve[2:]) < curve[0]


def test_every_task_of_a_team_has_learnt_a_table_of_its_own():
    for tensors, _ in TOYS["skills"](build_base(), None).values():
        tables = [tensor for key, tensor in tensors.items() if key.endswith("table")]
        assert all(not torch.allclose(table[0], table[1]) for table in tables)
