"""Runs to write and to read back, made by hand."""

import json
from dataclasses import asdict

import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.training import TrainConfig
from lorary.training.config import list_effective
from lorary.training.folder.expert_form import ExpertForm
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.adamw import AdamW
from lorary.training.progress import UnitPlan, UnitProgress
from lorary.training.tensor_checks import find_shape_fault

CONFIG = TrainConfig(rank=2, alpha=4, max_steps=3, validate_every=2)
IDENTITY = {
    "configuration": list_effective(CONFIG),
    "base model": "abc",
    "examples": {"poetry": "1", "sql": "1"},
}
PLAN = UnitPlan(tokens=(10, 10, 20), validate_every=2)
NUM_PARAMETERS = 20
NAMES = ("poetry", "sql", "law", "poetry v1.2")


def make_progress(num_steps=3):
    progress = UnitProgress()
    for loss, num_tokens in zip([2.5, 2.0, 1.25][:num_steps], PLAN.tokens, strict=False):
        progress.record_step(loss, num_tokens, PLAN)
        if PLAN.is_due(progress.step):
            progress.record_validation(loss + 0.25, PLAN)
    return progress


def make_trainee(num_steps=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tensors = {"values": torch.randn(NUM_PARAMETERS, generator=generator)}
    if num_steps:
        tensors["exp_avg"] = torch.randn(NUM_PARAMETERS, generator=generator)
        tensors["exp_avg_sq"] = torch.rand(NUM_PARAMETERS, generator=generator)
        tensors["step"] = torch.tensor(float(num_steps))
    progress = make_progress(num_steps)
    if progress.best_step is not None:
        tensors["best_values"] = torch.randn(NUM_PARAMETERS, generator=generator)
    return tensors, progress


def make_expert(name="poetry", seed=0, rank=2, **changes):
    generator = torch.Generator().manual_seed(seed)
    factors = {
        "model.q_proj": Factors(
            torch.randn(rank, 6, generator=generator), torch.randn(4, rank, generator=generator)
        )
    }
    provenance = {"training": asdict(CONFIG), "data": {"digest": "1"}, "steps": 3, **changes}
    card = ExpertCard(tasks=("rhymes",), base_fingerprint="abc", provenance=provenance)
    return Expert(name, "org/base", factors, card)


def open_run(path, identity=IDENTITY, *, fresh=False):
    return RunFolder(path, identity, make_form(), fresh=fresh)


def make_form(**changes):
    settings = {
        "shapes": {"model.q_proj": ((2, 6), (4, 2))},
        "base_fingerprint": "abc",
        "digests": dict.fromkeys(NAMES, "1"),
        "config": CONFIG,
    }
    return ExpertForm(**{**settings, **changes})


def find_finished(folder, name="poetry", **changes):
    """Read a finished expert, where experts must be as these changes say."""
    folder.form = make_form(**changes)
    return folder.finished(name, PLAN)


def keep(folder, expert, progress):
    folder.finish(expert.name, expert, progress)


def load(folder):
    return folder.load_state(dict.fromkeys(NAMES, PLAN), find_fault=find_fault, num_slots=2)


def find_fault(tensors, progress):
    """Look at a trainee's tensors as the loop does."""
    values = {key: value for key, value in tensors.items() if key.endswith("values")}
    others = {key: value for key, value in tensors.items() if key not in values}
    names = ["values"] if progress.best_step is None else ["values", "best_values"]
    fault = find_shape_fault(values, {name: [NUM_PARAMETERS] for name in names})
    return fault or AdamW(learning_rate=1.0).find_fault(others, progress.step, NUM_PARAMETERS)


def assert_same_state(found, expected):
    assert found.keys() == expected.keys()
    for name, (tensors, progress) in expected.items():
        assert found[name][1] == progress
        assert found[name][0].keys() == tensors.keys()
        assert all(torch.equal(found[name][0][key], tensors[key]) for key in tensors)


def assert_same_expert(found, expected):
    assert (found.name, found.base_model, found.card) == (expected.name, expected.base_model, expected.card)
    for one, other in zip(found.factors["model.q_proj"], expected.factors["model.q_proj"], strict=True):
        assert torch.equal(one, other)


def make_old(place):
    """Make a finished expert's record what earlier versions wrote."""
    record = json.loads((place / "progress.json").read_text())
    for key in ("expert", "run", "files", "sha256"):
        del record[key]
    (place / "progress.json").write_text(json.dumps(record))


def flip_a_bit(name, place_in_file=-1):
    def damage(place):
        content = bytearray((place / name).read_bytes())
        content[place_in_file] ^= 1
        (place / name).write_bytes(content)

    return damage


def read(folder):
    opened = open_run(folder, IDENTITY)
    return load(opened), find_finished(opened)
