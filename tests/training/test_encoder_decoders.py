"""Training on models with an encoder and a decoder, compared with PEFT and with units alone."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lorary.data import TokenizedExample
from lorary.experts import read_peft
from lorary.experts.seeds import seed_for
from lorary.models import attach_experts
from lorary.training import SkillConfig, TrainConfig, TrainingExamples, train_experts, train_skills
from lorary.training.loop.schedule import plan_batches
from lorary.training.moe_training import train_moe
from lorary.training.objectives.gate_config import GateConfig
from lorary.training.objectives.gates import train_gates
from lorary.training.objectives.moe_config import MoeConfig
from tests.encoder_decoders import PIECES, build_base, build_model

TARGETS = {"t5": ["q", "v", "wo"], "flan-t5": ["q", "v", "wi_1"], "bart": ["q_proj", "fc1"]}


def make_pairs(shift, *, num_train=9, num_validation=0):
    generator = torch.Generator().manual_seed(shift)

    def draw():
        num_prompt, num_target = torch.randint(1, 9, (2,), generator=generator).tolist()
        prompt = torch.randint(3, len(PIECES) - 20, (num_prompt,), generator=generator).tolist()
        target = [prompt[i % num_prompt] + shift for i in range(num_target)]
        return TokenizedExample((*prompt, 1), (*target, 1))

    train, validation = (tuple(draw() for _ in range(n)) for n in (num_train, num_validation))
    return TrainingExamples(train=train, validation=validation, tasks=(f"shift {shift}",))


def configure(**changes):
    plain = {"schedule": "constant", "warmup_ratio": 0.0, "max_grad_norm": None}
    sizes = {"rank": 2, "alpha": 8, "batch_size": 3, "learning_rate": 1e-2, "max_steps": 5}
    return TrainConfig(**{**plain, **sizes, **changes})


def train_with_peft(kind, name, examples, config, folder):
    """Train an adapter with PEFT, padded batches and ``labels``, from the factors that lorary starts with."""
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=config.target_modules, task_type="SEQ_2_SEQ_LM"
    )
    model = get_peft_model(build_model(kind), lora).eval()
    generator = torch.Generator().manual_seed(seed_for(config.seed, name))
    for path, weight in model.named_parameters():
        if ".lora_A." in path:
            noise = torch.rand(weight.shape, generator=generator) * 2 - 1
            weight.data = noise / weight.shape[1] ** 0.5
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    plan = plan_batches(
        [len(example) for example in examples.train],
        config.batch_size,
        seed=seed_for(config.seed, name),
        max_steps=config.max_steps,
    )
    losses = []
    for members in plan:
        batch = [examples.train[index] for index in members]
        loss = model(
            input_ids=pad([each.prompt_ids for each in batch], 0),
            attention_mask=pad([[1] * len(each.prompt_ids) for each in batch], 0),
            labels=pad([each.target_ids for each in batch], -100),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.save_pretrained(folder, save_embedding_layers=False)
    return read_peft(folder, name=name), losses


def pad(rows, value):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT
@pytest.mark.parametrize("kind", TARGETS)
def test_each_expert_of_a_run_equals_one_trained_by_peft(kind, assert_same_factors, tmp_path):
    config = configure(target_modules=TARGETS[kind])
    examples = {name: make_pairs(shift) for shift, name in enumerate(("alpha", "beta"), 1)}
    outcome = train_experts(build_base(kind), examples, config, tmp_path / "run")
    for name, expert in outcome.experts.items():
        expected, losses = train_with_peft(kind, name, examples[name], config, tmp_path / name)
        assert_same_factors(expert.factors, expected.factors, tolerance=2e-3)
        assert expert.card.task_type == "SEQ_2_SEQ_LM"
        curve = [loss for _, loss in outcome.progress[name].train_curve]
        torch.testing.assert_close(torch.tensor(curve), torch.tensor(losses), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"num_slots": 2}, {"tokens_per_pass": 25}, {"gradient_checkpointing": True}]
)
def test_an_expert_trained_with_others_equals_the_one_trained_alone(changes, assert_same_factors, tmp_path):
    config = configure(validate_every=2)
    base = build_base("t5")
    examples = {name: make_pairs(shift, num_validation=3) for shift, name in enumerate("abc", 1)}
    together = train_experts(base, examples, configure(validate_every=2, **changes), tmp_path / "together")
    for name, own in examples.items():
        alone = train_experts(base, {name: own}, config, tmp_path / name)
        assert_same_factors(together.experts[name].factors, alone.experts[name].factors, tolerance=1e-3)


def test_training_lowers_the_loss(tmp_path):
    config = configure(max_steps=40, batch_size=9, learning_rate=2e-2)
    outcome = train_experts(build_base("t5"), {"a": make_pairs(1)}, config, tmp_path)
    curve = [loss for _, loss in outcome.progress["a"].train_curve]
    assert curve[-1] < 0.7 * curve[0]


def test_skills_and_gates_are_trained_too(draw_expert, tmp_path):
    base = build_base("t5")
    examples = {name: make_pairs(shift) for shift, name in enumerate("ab", 1)}
    config = SkillConfig(train=configure(max_steps=2), num_skills=2)
    outcome = train_skills(base, examples, config, tmp_path / "skills")
    assert {expert.card.task_type for expert in outcome.skill_set.skills} == {"SEQ_2_SEQ_LM"}
    stack = attach_experts(base.model, {name: draw_expert(base, name) for name in "ab"})
    gates = train_gates(stack, examples, GateConfig(num_steps=2))
    assert set(gates) == set(stack.layers)
    assert all(rows.isfinite().all() and rows.any() for rows in gates.values())


def test_rows_of_encoder_and_decoder_have_positions_of_their_own(tmp_path):
    base = build_base("bart")
    fits = TrainingExamples(train=(TokenizedExample(tuple(range(3, 93)), tuple(range(3, 93))),))
    train_experts(base, {"a": fits}, configure(max_steps=1), tmp_path / "fits")
    long = TrainingExamples(train=(TokenizedExample((5, 1), tuple(range(3, 100))),))
    with pytest.raises(ValueError, match="it must fit in the base model's 96 positions, found 97 tokens"):
        train_experts(base, {"a": long}, configure(max_steps=1), tmp_path / "long")


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_mixture_of_experts_counts_the_tokens_of_encoder_and_decoder(kind, draw_expert, tmp_path):
    base = build_base(kind)
    experts = {name: draw_expert(base, name, task_type="SEQ_2_SEQ_LM") for name in "abc"}
    examples = {name: make_pairs(shift, num_validation=2) for shift, name in enumerate("ab", 1)}
    found = {}
    for tokens_per_pass in (1, 1000):
        settings = configure(max_steps=3, validate_every=3, tokens_per_pass=tokens_per_pass)
        config = MoeConfig(train=settings, top_k=2, balance=0.1, z_loss=0.1, warm_start="none")
        outcome = train_moe(base, experts, examples, config, tmp_path / str(tokens_per_pass))
        found[tokens_per_pass] = outcome
    alone, together = found[1], found[1000]
    # Padding counts nowhere, so it does not matter how examples are divided into passes.
    assert alone.usage.num_tokens == together.usage.num_tokens
    for path, row in alone.usage.shares.items():
        assert row == pytest.approx(together.usage.shares[path], abs=1e-5)
    for name, rows in alone.facts["moe"].items():
        torch.testing.assert_close(rows, together.facts["moe"][name], rtol=1e-3, atol=1e-4)
