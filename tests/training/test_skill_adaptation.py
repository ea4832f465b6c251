from dataclasses import replace

import pytest
import torch

from lorary.errors import IncompatibleExpert, TrainingError
from lorary.experts import Expert, Factors
from lorary.experts.skills import average_skills, make_skill_set
from lorary.models import find_layers, layer_shape
from lorary.training import SkillConfig, TrainConfig, adapt_skills, fit_config, prepare_mode, train_skills
from lorary.training.objectives import few_shot

TRAIN = TrainConfig(
    rank=2,
    alpha=8,
    batch_size=4,
    learning_rate=1e-2,
    max_steps=6,
    schedule="constant",
    warmup_ratio=0.0,
    checkpoint_seconds=0,
)
CONFIG = SkillConfig(train=TRAIN, weighting="sigmoid", table_learning_rate=0.2)


class Killed(Exception):
    """Ends a run in place of the system."""


def make_expert(base, name, seed, rank=2, targets=("q_proj", "down_proj")):
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for path, layer in find_layers(base.model, list(targets)).items():
        width_in, width_out = layer_shape(layer)
        a, b = (
            torch.randn(rank, width_in, generator=generator),
            torch.randn(width_out, rank, generator=generator),
        )
        factors[path] = Factors(0.2 * a, 0.2 * b)
    return Expert(name, base.name, factors)


@pytest.fixture
def start(base):
    """Three experts of different ranks and modules as skills, with two splits."""
    experts = [
        make_expert(base, "poetry", 1, rank=3),
        make_expert(base, "law", 2),
        make_expert(base, "sql", 3, targets=["q_proj"]),
    ]
    return make_skill_set(experts, num_splits=2)


@pytest.fixture
def examples(make_examples):
    return {"ode": make_examples(7, num_validation=3)}


def weigh(row, num_splits):
    return [scores / scores.sum() for scores in torch.sigmoid(row).chunk(num_splits)]


def train_by_the_book(base, found, start, config, rows, compute_loss, batches):
    """Train one task with hooks that mix each layer block by block; returns losses."""
    skills, splits, scale = start.skills, start.table.num_splits, config.train.scale
    layers = {path: base.model.get_submodule(path) for path in skills[0].factors}
    a = {path: torch.stack([s.factors[path].a for s in skills]) for path in layers}
    b = {path: torch.stack([s.factors[path].b for s in skills]) / scale for path in layers}
    table = {path: rows[path].clone() for path in layers}
    groups = {"skills": [*a.values(), *b.values()], "table": [*table.values()]}
    rates = {"skills": config.train.learning_rate, "table": config.table_learning_rate}
    used = [part for part in groups if config.trained in ("all", part)]
    optimizers = []
    for part in used:
        for tensor in groups[part]:
            tensor.requires_grad_()
        optimizers.append(torch.optim.AdamW(groups[part], lr=rates[part], weight_decay=0.0))

    def change(path):
        weights = weigh(table[path], splits)

        def mix(factors):
            blocks = zip(weights, factors.chunk(splits, -1), strict=True)
            return torch.cat(
                [sum(w * own for w, own in zip(row, block, strict=True)) for row, block in blocks], -1
            )

        down, up = mix(a[path]), mix(b[path].transpose(1, 2))
        return lambda _, inputs, y: y + scale * (inputs[0] @ down.T @ up)

    losses = []
    for batch in batches:
        hooks = [layer.register_forward_hook(change(path)) for path, layer in layers.items()]
        loss = compute_loss(base.model, [found.train[index] for index in batch])
        for hook in hooks:
            hook.remove()
        for part in used:
            gradients = torch.autograd.grad(loss, groups[part], retain_graph=True, allow_unused=True)
            for tensor, gradient in zip(groups[part], gradients, strict=True):
                tensor.grad = gradient
            torch.nn.utils.clip_grad_norm_(groups[part], config.train.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("mode", ["mhr", "mhr-z", "mhr-mu"])
def test_adaptation_is_that_of_a_plain_loop(base, tmp_path, start, examples, compute_loss, mode):
    from lorary.training.loop.trainee import plan_unit

    prepared, config = prepare_mode(mode, start, replace(CONFIG, new_rows="uniform"))
    outcome = train_skills(base, examples, config, tmp_path / "run", start=prepared)
    batches = plan_unit("skills", examples["ode"], config.train.loop)
    width = prepared.table.num_splits * len(prepared.skills)
    rows = {path: torch.zeros(width) for path in prepared.skills[0].factors}
    losses = train_by_the_book(base, examples["ode"], prepared, config, rows, compute_loss, batches)
    found = [loss for _, loss in outcome.progress.train_curve]
    torch.testing.assert_close(found, losses, atol=1e-4, rtol=1e-4)
    assert found[-1] < found[0]


def test_frozen_skills_stay_as_they_were(base, tmp_path, start, examples):
    [found] = adapt_skills(base, "ode", examples["ode"], start, CONFIG, tmp_path / "run", mode="mhr-z")
    assert found.outcome.skill_set.skills == start.skills
    assert any(own.abs().max() > 0.1 for own in found.outcome.skill_set.table.logits.values())
    assert (found.expert.name, found.expert.card.tasks) == ("ode", ("ode",))
    assert found.expert.card.parents == ("poetry", "law", "sql")
    assert found.expert.card.provenance["training"]["trained"] == "table"


def test_the_mean_is_trained_as_skills_with_equal_weights_are(base, tmp_path, start, examples):
    """What makes one averaged skill enough for Poly-μ and MHR-μ."""
    plain = replace(CONFIG, trained="skills", new_rows="uniform", train=replace(TRAIN, max_grad_norm=None))
    outcomes = [
        train_skills(base, examples, fit_config(plain, own), tmp_path / name, start=own)
        for name, own in (("all", start), ("mean", average_skills(start)))
    ]
    all_skills, mean = (outcome.skill_set.task_expert("ode") for outcome in outcomes)
    for path, pair in all_skills.factors.items():
        torch.testing.assert_close(mean.factors[path], pair, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("new_rows", ["random", "mean", "uniform"])
def test_known_tasks_begin_with_their_rows_and_new_ones_as_asked(base, tmp_path, start, examples, new_rows):
    shape = (2, 6)
    logits = {
        path: torch.randn(shape, generator=torch.Generator().manual_seed(1)) for path in start.table.logits
    }
    known = replace(start, table=replace(start.table, tasks=("poem", "ode"), logits=logits))
    config = fit_config(replace(CONFIG, trained="skills", new_rows=new_rows), known)
    both = {"new": examples["ode"], "ode": examples["ode"]}
    table = train_skills(base, both, config, tmp_path / "run", start=known).skill_set.table
    for group, own in table.logits.items():
        assert torch.equal(own[1], logits[group][1])
        if new_rows == "random":
            assert 0 < own[0].abs().max() <= 1e-3
        else:
            assert torch.equal(own[0], logits[group].mean(0) if new_rows == "mean" else torch.zeros(6))


@pytest.mark.parametrize("mode", ["mhr-z", "mhr-mu"])
def test_a_killed_adaptation_goes_on_to_the_same_bits(base, tmp_path, start, examples, mode):
    config = replace(CONFIG, weighting="relaxed", train=replace(TRAIN, validate_every=2))

    def adapt(folder, **options):
        return adapt_skills(
            base, "ode", examples["ode"], start, config, tmp_path / folder, mode=mode, **options
        )[0]

    whole, left = adapt("whole"), [4]

    def follow(event):
        left[0] -= 1
        if not left[0]:
            raise Killed

    with pytest.raises(Killed):
        adapt("killed", on_progress=follow)
    for again in (adapt("killed"), adapt("killed")):
        assert again.outcome.progress.train_curve == whole.outcome.progress.train_curve
        assert again.expert.card == whole.expert.card
        for path, pair in whole.expert.factors.items():
            assert all(torch.equal(*pair) for pair in zip(again.expert.factors[path], pair, strict=True))


def test_the_grid_keeps_the_lowest_validation_loss_of_each_seed(base, tmp_path, start, examples, monkeypatch):
    monkeypatch.setattr(few_shot, "NUM_STEPS", 4)
    monkeypatch.setattr(few_shot, "VALIDATIONS", 2)

    def adapt(**options):
        return adapt_skills(
            base,
            "ode",
            examples["ode"],
            start,
            CONFIG,
            tmp_path,
            mode="mhr",
            protocol="grid",
            seeds=(0, 5),
            **options,
        )

    found = adapt()
    assert [own.config.train.seed for own in found] == [0, 5]
    for own in found:
        assert len(own.losses) == 4
        assert own.outcome.progress.best_loss == min(own.losses.values())
        rates = own.config.train.learning_rate, own.config.table_learning_rate
        assert own.losses[rates] == min(own.losses.values())
    passes = []
    again = adapt(on_progress=passes.append)
    assert not passes
    assert [own.losses for own in again] == [own.losses for own in found]


def test_a_grid_without_validation_examples_is_refused(base, tmp_path, start, make_examples):
    with pytest.raises(ValueError, match="task 'ode' must have validation examples, found none"):
        adapt_skills(base, "ode", make_examples(7), start, CONFIG, tmp_path, mode="mhr", protocol="grid")


def test_modes_that_do_not_suit_are_refused(start):
    with pytest.raises(ValueError, match="one of poly, poly-z, poly-mu, mhr, mhr-z, mhr-mu, found 'lora'"):
        prepare_mode("lora", start, CONFIG)
    with pytest.raises(ValueError, match="'poly-z' needs skills with 1 split, found 2: use mode 'mhr-z'"):
        prepare_mode("poly-z", start, CONFIG)
    with pytest.raises(ValueError, match="'mhr' needs skills with several splits, found 1: use mode 'poly'"):
        prepare_mode("mhr", make_skill_set(start.skills), CONFIG)


def test_a_configuration_that_does_not_suit_the_start_is_refused_at_once(base, tmp_path, start, examples):
    message = (
        "num_skills must be that of the skills to start from, 3, found 8; "
        "num_splits .* 2, found 1; granularity .* 'linear', found 'model'; "
        "shared_skill .* False, found True; rank .* 3, found 2: use fit_config; "
        "new_rows='mean' needs a table with tasks, found none"
    )
    config = replace(CONFIG, granularity="model", shared_skill=True, new_rows="mean")
    with pytest.raises(ValueError, match=message):
        train_skills(base, examples, config, tmp_path / "run", start=start)
    with pytest.raises(ValueError, match=r"trained='table' needs skills .*; new_rows='mean' needs a table"):
        train_skills(base, examples, replace(config, trained="table"), tmp_path / "run")


def test_skills_of_another_base_model_are_refused(base, tmp_path, start, examples):
    foreign = replace(start, skills=[skill.with_base("org/huge") for skill in start.skills])
    with pytest.raises(IncompatibleExpert, match="'poetry' was trained on 'org/huge'"):
        train_skills(base, examples, fit_config(CONFIG, start), tmp_path / "run", start=foreign)


def test_a_folder_with_another_start_is_refused(base, tmp_path, start, examples):
    config = fit_config(CONFIG, start)
    train_skills(base, examples, config, tmp_path / "run", start=start)
    other = replace(start, skills=start.skills[::-1])
    with pytest.raises(TrainingError, match="another"):
        train_skills(base, examples, config, tmp_path / "run", start=other)
