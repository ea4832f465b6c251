"""A run folder that an earlier lorary left, with two experts finished and one in training, goes on."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples, train_experts

HERE = Path(__file__).parent
SETTINGS = {
    "rank": 1,
    "batch_size": 2,
    "epochs": 2,
    "learning_rate": 1e-2,
    "num_slots": 2,
    "validate_every": 2,
    "patience": 3,
    "checkpoint_seconds": 0,
    "target_modules": ["q_proj", "down_proj"],
}


@pytest.fixture
def old_base():
    """The base model of that run; its weights are whole multiples of 1/64, whatever draws random numbers."""
    config = AutoConfig.for_model(
        "llama",
        vocab_size=16,
        hidden_size=4,
        intermediate_size=6,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    start = 0
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            numbers = torch.arange(start, start + parameter.numel())
            parameter.copy_((((numbers * 37) % 101 - 50) / 64).view(parameter.shape))
            start += parameter.numel()
    return BaseModel(model, None, "org/tiny", None, "0123456789abcdef01234567")


@pytest.fixture
def old_examples():
    def draw(first, number):
        starts = [first + 5 * index for index in range(number)]
        return tuple(
            TokenizedExample(tuple((start + place) % 13 + 3 for place in range(3)), (start % 7 + 3, 4))
            for start in starts
        )

    return {
        name: TrainingExamples(
            train=draw(3 * number, 4 + number), validation=draw(number + 1, 2), tasks=(name,)
        )
        for number, name in enumerate(("poetry", "sql", "law"))
    }


@pytest.fixture
def old_run(tmp_path):
    return shutil.copytree(HERE / "old_run", tmp_path / "run")


def test_a_run_of_an_earlier_version_goes_on_to_the_same_end(old_base, old_examples, old_run):
    events = []
    outcome = train_experts(
        old_base, old_examples, TrainConfig(**SETTINGS), old_run, on_progress=events.append
    )
    assert events[0].num_steps == 4 + 5 + 3 and set(events[0].finished) == {"poetry", "sql"}
    expected = load_file(HERE / "old_run_experts.safetensors")
    found = {
        f"{name}/{path}/{letter}": tensor
        for name, expert in outcome.experts.items()
        for path, pair in expert.factors.items()
        for letter, tensor in zip("ab", pair, strict=True)
    }
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=1e-4)


def test_a_run_of_an_earlier_version_is_still_refused_to_another_configuration(
    old_base, old_examples, old_run
):
    with pytest.raises(TrainingError, match=r"differs in configuration rank \(1 there, 2 here\): use"):
        train_experts(old_base, old_examples, TrainConfig(**{**SETTINGS, "rank": 2}), old_run)
