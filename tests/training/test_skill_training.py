import copy
import math

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.errors import TrainingError
from lorary.experts.seeds import seed_for
from lorary.experts.skills import write_poly
from lorary.models import attach_experts, find_layers, layer_shape, wrap_base
from lorary.training import SkillConfig, TrainConfig, TrainingExamples, memory, train_skills
from lorary.training.joined_tasks import join_tasks
from lorary.training.loop.schedule import plan_batches
from lorary.training.objectives.skill_values import TABLE, outline_skills

TARGETS = ["q_proj", "down_proj"]
TRAIN = {
    "rank": 2,
    "alpha": 8,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "max_steps": 5,
    "target_modules": TARGETS,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "weight_decay": 0.1,
    "checkpoint_seconds": 0,
}


class Killed(Exception):
    """Ends a run in place of the system."""


def make_config(train=None, **changes):
    settings = {"num_skills": 3, "num_splits": 2, "table_learning_rate": 0.05, **changes}
    return SkillConfig(train=TrainConfig(**{**TRAIN, **(train or {})}), **settings)


def test_skills_that_do_not_fit_are_refused(base, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 10**6)
    with pytest.raises(TrainingError, match=r"are free: lower rank .* or num_skills \(now 3 at a time\)"):
        train_skills(base, examples, make_config({"rank": 4000}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def examples(make_examples):
    return {
        name: make_examples(shift, num_validation=3) for name, shift in (("sql", 2), ("law", 5), ("ode", 9))
    }


def draw_start(shapes, config, generator):
    values = {}
    for key, shape in shapes.items():
        if key.startswith(TABLE):
            values[key] = (torch.rand(shape, generator=generator) * 2 - 1) * 1e-3
        elif key.endswith(".a"):
            values[key] = (torch.rand(shape, generator=generator) * 2 - 1) * (
                shape[-1] / config.num_splits
            ) ** -0.5
        else:
            values[key] = torch.zeros(shape)
    return {key: value.requires_grad_() for key, value in values.items()}


def weigh(logits, noise, config):
    """Weigh one task's skills, split by split."""
    scores = torch.sigmoid(logits if noise is None else logits + noise.log() - (1 - noise).log())
    rows = [row / row.sum() for row in scores.chunk(config.num_splits)]
    if config.weighting == "straight_through":
        rounded = [(row > 0.5).float() for row in scores.chunk(config.num_splits)]
        values = [row / row.sum().clamp(min=1) for row in rounded]
        rows = [value + row - row.detach() for value, row in zip(values, rows, strict=True)]
    return [torch.cat([row, torch.ones(1)]) if config.shared_skill else row for row in rows]


def train_by_the_book(base, examples, config, compute_loss):
    """Train task by task and example by example, with hooks; returns parameters and losses."""
    layers = find_layers(base.model, TARGETS)
    shapes = outline_skills(
        {path: layer_shape(layer) for path, layer in layers.items()}, len(examples), config
    )
    seed = seed_for(config.train.seed, "skills")
    values = draw_start(shapes, config, torch.Generator().manual_seed(seed))
    tables = [key for key in values if key.startswith(TABLE)]
    groups = [[values[key] for key in values if key not in tables], [values[key] for key in tables]]
    settings = ((config.train.learning_rate, 0.1), (config.table_learning_rate, 0.0))
    optimizers = [
        torch.optim.AdamW(group, lr=rate, weight_decay=decay)
        for group, (rate, decay) in zip(groups, settings, strict=True)
    ]
    everything = [(n, e) for n, found in enumerate(examples.values()) for e in found.train]
    batches = plan_batches([len(e) for _, e in everything], config.train.batch_size, seed=seed, max_steps=5)
    losses = []
    for step, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(seed_for(seed, f"step {step}"))
        noise = {key: torch.rand(shapes[key], generator=generator) for key in tables}
        total, count = 0, 0
        for task, example in (everything[index] for index in batch):
            hooks = []
            for path, layer in layers.items():
                [table] = [key for key in tables if path.startswith(key.removeprefix(TABLE))] or tables
                own = None if config.weighting == "sigmoid" else noise[table][task]
                weights = weigh(values[table][task], own, config)
                a, b_t = (
                    torch.cat(
                        [
                            sum(w * block for w, block in zip(row, blocks, strict=True))
                            for row, blocks in zip(
                                weights, values[f"{path}.{key}"].chunk(config.num_splits, -1), strict=True
                            )
                        ],
                        -1,
                    )
                    for key in ("a", "b_t")
                )
                scale = config.train.scale
                hooks.append(
                    layer.register_forward_hook(
                        lambda _, inputs, y, a=a, b_t=scale * b_t: y + inputs[0] @ a.T @ b_t
                    )
                )
            total = total + compute_loss(base.model, [example]) * len(example.target_ids)
            count += len(example.target_ids)
            for hook in hooks:
                hook.remove()
        loss = total / count
        for optimizer, group in zip(optimizers, groups, strict=True):
            optimizer.zero_grad()
            found = torch.autograd.grad(loss, group, retain_graph=True)
            for parameter, gradient in zip(group, found, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(group, config.train.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return values, losses


@pytest.mark.parametrize(
    "changes",
    [
        {"weighting": "sigmoid", "num_splits": 1},
        {"weighting": "relaxed", "granularity": "model"},
        {"weighting": "relaxed", "granularity": "block", "num_splits": 8, "shared_skill": True},
        {"weighting": "relaxed", "granularity": "layer", "num_splits": 8},
        {"weighting": "straight_through", "shared_skill": True},
    ],
)
def test_skills_are_those_of_a_loop_over_tasks(base, tmp_path, examples, compute_loss, changes):
    config = make_config(**changes)
    outcome = train_skills(base, examples, config, tmp_path / "run")
    values, losses = train_by_the_book(base, examples, config, compute_loss)
    torch.testing.assert_close(
        [loss for _, loss in outcome.progress.train_curve], losses, atol=1e-4, rtol=1e-4
    )
    for group, logits in outcome.skill_set.table.logits.items():
        torch.testing.assert_close(logits, values[f"{TABLE}{group}"].detach(), atol=2e-3, rtol=2e-3)
    for place, skill in enumerate(outcome.skill_set.skills):
        for path, (a, b) in skill.factors.items():
            torch.testing.assert_close(a, values[f"{path}.a"][place].detach(), atol=1e-3, rtol=1e-3)
            expected = values[f"{path}.b_t"][place].detach().T * config.train.scale
            torch.testing.assert_close(b, expected, atol=4e-3, rtol=4e-3)


@pytest.mark.parametrize("weighting", ["relaxed", "straight_through"])
def test_a_killed_run_goes_on_to_the_same_bits(base, tmp_path, examples, weighting):
    config = make_config(
        {"max_steps": 9, "validate_every": 2, "tokens_per_pass": 20}, weighting=weighting, shared_skill=True
    )
    whole = train_skills(base, examples, config, tmp_path / "whole")
    for moment in (3, 2, 4):
        left = [moment]

        def follow(event, left=left):
            left[0] -= 1
            if not left[0]:
                raise Killed

        with pytest.raises(Killed):
            train_skills(base, examples, config, tmp_path / "killed", on_progress=follow)
    again = train_skills(base, examples, config, tmp_path / "killed")
    for outcome in (again, train_skills(base, examples, config, tmp_path / "killed")):
        assert outcome.progress.train_curve == whole.progress.train_curve
        for group, logits in whole.skill_set.table.logits.items():
            assert torch.equal(outcome.skill_set.table.logits[group], logits)
        for mine, theirs in zip(whole.skill_set.skills, outcome.skill_set.skills, strict=True):
            assert mine.card == theirs.card
            assert all(
                torch.equal(one, other)
                for path in mine.factors
                for one, other in zip(mine.factors[path], theirs.factors[path], strict=True)
            )


def test_passes_and_checkpointing_do_not_matter(base, tmp_path, examples):
    settings = ({"tokens_per_pass": 15}, {"tokens_per_pass": 4000}, {"gradient_checkpointing": True})
    curves = [
        train_skills(base, examples, make_config(own), tmp_path / str(number)).progress.train_curve
        for number, own in enumerate(settings)
    ]
    losses = torch.tensor([[loss for _, loss in curve] for curve in curves])
    torch.testing.assert_close(losses, losses[:1].expand_as(losses), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weighting", ["relaxed", "sigmoid", "straight_through"])
def test_training_lowers_the_loss(base, tmp_path, examples, weighting):
    config = make_config({"max_steps": 60}, weighting=weighting, num_skills=4)
    curve = [loss for _, loss in train_skills(base, examples, config, tmp_path / "run").progress.train_curve]
    assert sum(curve[-5:]) < 0.95 * sum(curve[:5])


def test_the_experts_of_tasks_have_the_validation_loss_of_the_run(base, tmp_path, examples, compute_loss):
    config = make_config({"validate_every": 5})
    outcome = train_skills(base, examples, config, tmp_path / "run")
    experts = outcome.skill_set.task_experts()
    stack = attach_experts(base.model, experts)
    total, count = 0.0, 0
    with torch.no_grad():
        for task, found in examples.items():
            with stack.assign([task]):
                number = sum(len(example.target_ids) for example in found.validation)
                total += float(compute_loss(base.model, found.validation)) * number
                count += number
    stack.detach()
    assert math.isclose(total / count, outcome.progress.best_loss, rel_tol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("splits", [1, 8])
def test_peft_has_the_logits_of_trained_skills(base, tmp_path, examples, splits):
    outcome = train_skills(base, examples, make_config(num_splits=splits), tmp_path / "run")
    write_poly(outcome.skill_set, tmp_path / "poly")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(base.model), tmp_path / "poly").eval()
    ids = torch.tensor([[3, 9, 4, 7]])
    stack = attach_experts(base.model, outcome.skill_set.task_experts())
    with torch.no_grad():
        for number, task in enumerate(examples):
            with stack.assign([task]):
                found = base.model(input_ids=ids).logits
            expected = model(input_ids=ids, task_ids=torch.tensor([number])).logits
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    stack.detach()


def test_skills_say_what_they_were_trained_on(base, tmp_path, examples):
    skills = train_skills(base, examples, make_config(shared_skill=True), tmp_path / "run").skill_set.skills
    assert [skill.name for skill in skills] == ["skills-0", "skills-1", "skills-2", "skills-shared"]
    assert skills[0].card.tasks == ("sql", "law", "ode")
    assert skills[0].card.base_fingerprint == base.fingerprint


def test_the_base_model_is_plain_afterwards(base, tmp_path, examples):
    before = {name: type(module) for name, module in base.model.named_modules()}
    train_skills(base, examples, make_config(), tmp_path / "run")
    assert {name: type(module) for name, module in base.model.named_modules()} == before


def test_tasks_without_examples_and_splits_that_do_not_divide_are_refused(base, tmp_path, examples):
    with pytest.raises(ValueError, match="at least one task, found none"):
        train_skills(base, {}, make_config(), tmp_path / "run")
    with pytest.raises(ValueError, match="'sql' must have at least one training example"):
        train_skills(base, {"sql": TrainingExamples(train=())}, make_config(), tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"5 does not divide those of .*q_proj' \(16 to 16\).*: use 1 or 2 or 4 or 8$"
    ):
        train_skills(base, examples, make_config(num_splits=5), tmp_path / "run")


def test_skills_of_conv1d_layers_are_trained_and_say_so(build_base, tmp_path, examples, compute_loss):
    base = build_base("gpt2")
    config = make_config({"target_modules": ["c_attn", "c_fc"], "validate_every": 5}, num_splits=8)
    outcome = train_skills(base, examples, config, tmp_path / "run")
    assert outcome.skill_set.skills[0].card.fan_in_fan_out
    curve = [loss for _, loss in outcome.progress.train_curve]
    assert curve[-1] < curve[0]
    stack = attach_experts(base.model, outcome.skill_set.task_experts())
    total, count = 0.0, 0
    with torch.no_grad():
        for task, found in examples.items():
            with stack.assign([task]):
                number = sum(len(example.target_ids) for example in found.validation)
                total += float(compute_loss(base.model, found.validation)) * number
                count += number
    stack.detach()
    assert math.isclose(total / count, outcome.progress.best_loss, rel_tol=1e-4)


def test_balanced_tasks_are_trained_on_equally_often(make_examples):
    examples = {"small": make_examples(2, num_train=3), "large": make_examples(5, num_train=10)}
    balanced, plain = (join_tasks(examples, is_balanced=switch).train for switch in (True, False))
    assert [sum(example.task == row for example in balanced) for row in (0, 1)] == [10, 10]
    assert [sum(example.task == row for example in plain) for row in (0, 1)] == [3, 10]
    seen = [example.prompt_ids for example in balanced if example.task == 0]
    assert {seen.count(example.prompt_ids) for example in examples["small"].train} == {3, 4}


def test_64_splits_of_rank_1_are_trained(tiny_config, tmp_path, examples):
    """T0's setting of MHR."""
    sizes = {"vocab_size": 48, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama", **sizes))
    base = wrap_base(model, None, name="org/wide")
    config = make_config(
        {"rank": 1, "max_steps": 20}, num_splits=64, weighting="sigmoid", table_learning_rate=0.1
    )
    outcome = train_skills(base, examples, config, tmp_path / "run")
    curve = [loss for _, loss in outcome.progress.train_curve]
    assert sum(curve[-5:]) < 0.95 * sum(curve[:5])
    assert outcome.skill_set.table.num_splits == 64
