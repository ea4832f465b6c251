from pathlib import Path

import pytest
import torch

from lorary.errors import TrainingError
from lorary.models import find_layers
from lorary.training import memory, train_experts
from lorary.training.memory import check_memory, estimate_bytes, find_free_bytes, say_gigabytes

CPU = torch.device("cpu")


@pytest.fixture
def layers(base):
    return find_layers(base.model, "all-linear")


@pytest.mark.parametrize("rank", [1, 16])
def test_the_estimate_covers_the_tensors_of_a_training(base, layers, make_config, rank):
    config = make_config(rank=rank, num_slots=2, validate_every=1, tokens_per_pass=8)
    parameters = sum(rank * sum(layer.weight.shape) for layer in layers.values())
    # Values, gradients twice, two moments and the best values, of two of three experts.
    least = 6 * 4 * 2 * parameters
    needed = estimate_bytes(layers, config, 3)
    assert least <= needed.on_device <= least + 4 * 8 * rank * len(layers)
    assert needed.on_host == 4 * 4 * 2 * parameters
    assert estimate_bytes(layers, config, 1).on_host == needed.on_host // 2


def test_what_does_not_fit_is_refused_before_anything_is_made(
    base, examples, make_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 10**6)
    config = make_config(rank=4000, num_slots=2)
    message = (
        r"needs about .* of memory in addition to the base model, for .* rank 4000, .* 1 MB are free: "
        "lower rank"
    )
    with pytest.raises(TrainingError, match=message):
        train_experts(base, examples, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_rank_that_is_named_fits(layers, make_config, monkeypatch):
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 10**7)
    with pytest.raises(TrainingError) as error:
        check_memory(CPU, layers, make_config(rank=4000), 1)
    assert "num_slots" not in str(error.value)
    rank = int(str(error.value).rpartition("at most about ")[2].rstrip(")"))
    check_memory(CPU, layers, make_config(rank=rank), 1)


def test_where_the_memory_is_not_known_nothing_is_refused(layers, make_config, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "MEMORY_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(memory, "CONTAINERS", ())
    assert find_free_bytes() is None
    check_memory(CPU, layers, make_config(rank=10**6), 1)


def test_a_container_may_have_less_than_the_machine(monkeypatch, tmp_path):
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    monkeypatch.setattr(memory, "MEMORY_FILE", str(machine))
    monkeypatch.setattr(memory, "CONTAINERS", ((str(tmp_path), "max", "used", "inactive_file"),))
    assert find_free_bytes() == 5000 * 1024
    for file, text in {"max": "1000", "used": "700", "memory.stat": "anon 1\ninactive_file 100\n"}.items():
        (tmp_path / file).write_text(text)
    assert find_free_bytes() == 400
    (tmp_path / "max").write_text("max")
    assert find_free_bytes() == 5000 * 1024
    for damage in ("", "MemAvailable:", "MemAvailable: x kB", "\xff"):
        machine.write_text(damage, encoding="latin-1")
        assert find_free_bytes() is None


def test_this_machine_is_read():
    assert Path(memory.MEMORY_FILE).exists() == (find_free_bytes() is not None)


def test_sizes_are_readable():
    assert [say_gigabytes(size) for size in (1, 85 * 10**6, 61 * 10**9)] == ["1 MB", "85 MB", "61.0 GB"]
