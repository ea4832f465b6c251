import math

import pytest
import torch

from lorary.data import TokenizedExample
from lorary.errors import TrainingError, UnknownExpert
from lorary.experts.seeds import seed_for
from lorary.models import attach_experts
from lorary.models.capture import capture_inputs
from lorary.routing.phatgoose import PhatgooseRouter
from lorary.training import GateConfig, TrainingExamples
from lorary.training.loop.schedule import plan_batches
from lorary.training.objectives.gates import train_gates

NAMES = ["poetry", "sql", "law"]


@pytest.fixture
def examples(make_examples):
    return {name: make_examples(3 + shift, num_train=7) for shift, name in enumerate(NAMES)}


@pytest.fixture
def config():
    return GateConfig(num_steps=6, batch_size=3, learning_rate=2e-2, tokens_per_pass=24, row_length=16)


def train_alone(base, expert, examples, config, compute_loss):
    """Train one expert's gates with hooks, autograd and ``torch.optim.AdamW``, one sequence at a time."""
    gates, hooks = {}, []
    for path, (a, b) in expert.factors.items():
        gates[path] = torch.zeros(a.shape[1], requires_grad=True)
        layer = base.model.get_submodule(path)
        hooks.append(layer.register_forward_hook(add_gated(gates[path], a.float(), b.float())))
    optimizer = torch.optim.AdamW(gates.values(), lr=0.0, weight_decay=config.weight_decay)
    batches = plan_batches(
        [len(example) for example in examples.train],
        config.batch_size,
        seed=seed_for(config.seed, expert.name),
        max_steps=config.num_steps,
    )
    curve, num_warmup = [], math.ceil(config.num_steps * config.warmup_ratio)
    for step, batch in enumerate(batches):
        loss = compute_loss(base.model, [examples.train[index] for index in batch])
        optimizer.zero_grad()
        loss.backward()
        fall = 1 - (step - num_warmup) / (config.num_steps - num_warmup)
        factor = (step + 1) / num_warmup if step < num_warmup else fall
        optimizer.param_groups[0]["lr"] = config.learning_rate * factor
        optimizer.step()
        curve.append(loss.item())
    for hook in hooks:
        hook.remove()
    return {path: gate.detach() for path, gate in gates.items()}, curve


def add_gated(gate, a, b):
    return lambda layer, inputs, output: (
        output + torch.sigmoid(inputs[0] @ gate)[..., None] * (inputs[0] @ a.T @ b.T)
    )


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.1, "warmup_ratio": 0.5, "tokens_per_pass": 500}])
def test_gates_of_all_experts_are_those_of_each_trained_alone(
    build_base, experts, examples, config, compute_loss, changes
):
    config = GateConfig(**{**vars(config), **changes})
    expected = {
        name: train_alone(build_base(), experts[name], examples[name], config, compute_loss) for name in NAMES
    }
    curves = []
    stack = attach_experts(build_base().model, experts)
    found = train_gates(stack, examples, config, on_step=lambda step, losses: curves.append((step, losses)))
    assert list(found) == list(stack.layers)
    for path, gates in found.items():
        assert gates.dtype == torch.float32
        for row, name in enumerate(NAMES):
            alone = expected[name][0][path]
            assert alone.any()
            error = float((gates[row] - alone).norm() / alone.norm())
            assert error < 1e-3, f"gate of {name} at {path} differs by {error:.1e} of its length"
    assert [step for step, _ in curves] == [1, 2, 3, 4, 5, 6]
    for name in NAMES:
        assert [losses[name] for _, losses in curves] == pytest.approx(expected[name][1], rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_training_lowers_the_loss(build_base, make_expert, make_examples, config, family):
    base = build_base(family)
    expert = make_expert(base.model, "poetry", 0)
    losses = []
    train_gates(
        attach_experts(base.model, {"poetry": expert}),
        {"poetry": make_examples(3, num_train=3)},
        config,
        on_step=lambda step, found: losses.append(found["poetry"]),
    )
    assert losses[-1] < losses[0]


def test_the_model_is_left_as_it_was(stack, examples, config):
    before = {path: (layer.a.clone(), layer.b_t.clone()) for path, layer in stack.layers.items()}
    default = stack.context.default
    with stack.assign(["sql"]):
        call = stack.context.active
        train_gates(stack, examples, config)
        assert stack.context.active is call
    assert stack.context.active is default
    for path, layer in stack.layers.items():
        assert torch.equal(layer.a, before[path][0]) and torch.equal(layer.b_t, before[path][1])
    assert not any(parameter.grad is not None for parameter in stack.model.parameters())


def test_an_interrupted_training_leaves_the_model_as_it_was(stack, examples, config):
    def stop(step, losses):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_gates(stack, examples, config, on_step=stop)
    assert stack.context.active is stack.context.default


def test_some_experts_may_be_trained_in_any_order(build_base, experts, examples, config):
    def train(names):
        stack = attach_experts(build_base().model, experts)
        return train_gates(stack, {name: examples[name] for name in names}, config)

    everyone, few = train(NAMES), train(["law", "poetry"])
    for path, gates in few.items():
        torch.testing.assert_close(gates, everyone[path][[2, 0]], atol=1e-4, rtol=1e-3)


def test_a_layer_that_an_expert_leaves_alone_keeps_a_gate_of_zeros(base, experts, examples, config):
    path, _ = next(iter(experts["sql"].factors.items()))
    fewer = {other: pair for other, pair in experts["sql"].factors.items() if other != path}
    narrow = type(experts["sql"])("sql", "org/tiny-llama", fewer)
    found = train_gates(attach_experts(base.model, {**experts, "sql": narrow}), examples, config)
    assert not found[path][1].any()
    assert found[path][0].any() and found[path][2].any()


def test_a_bfloat16_model_trains_float32_gates(build_base, experts, examples, config):
    stack = attach_experts(build_base(dtype=torch.bfloat16).model, experts)
    found = train_gates(stack, examples, config)
    assert {gates.dtype for gates in found.values()} == {torch.float32}
    assert all(gates.isfinite().all() and gates.any() for gates in found.values())


def test_trained_gates_make_a_router(stack, examples, config):
    gates = train_gates(stack, examples, config)
    mask = torch.ones(1, 4, dtype=torch.bool)

    def route(path, x):
        indices, weights = PhatgooseRouter(gates[path], top_k=2)(x)
        assert indices.shape == (4, 2)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4))

    with torch.no_grad(), capture_inputs(stack, mask, route):
        stack.model(input_ids=torch.tensor([[3, 4, 5, 6]]))


def test_a_loss_that_is_not_finite_is_named(build_base, experts, examples, config):
    base = build_base()
    base.model.get_output_embeddings().weight.data.fill_(torch.nan)
    with pytest.raises(
        TrainingError,
        match=r"expert 'poetry': the loss of its gates must be finite, found nan after 0 steps: lower",
    ):
        train_gates(attach_experts(base.model, experts), examples, config)


def test_what_cannot_be_trained_is_refused(stack, examples, config):
    with pytest.raises(ValueError, match="there must be examples of at least one expert"):
        train_gates(stack, {}, config)
    with pytest.raises(ValueError, match="expert 'sql' must have at least one training example, found none"):
        train_gates(stack, {**examples, "sql": TrainingExamples(train=())}, config)
    with pytest.raises(UnknownExpert, match="'laws': did you mean 'law'"):
        train_gates(stack, {"laws": examples["law"]}, config)


def test_examples_that_the_model_cannot_read_are_refused(stack, examples, config):
    bad = TrainingExamples(train=(TokenizedExample((3,), (48,)),))
    message = r"expert 'sql', example 0: token ids must be whole numbers from 0 to 47, found 48"
    with pytest.raises(ValueError, match=message):
        train_gates(stack, {**examples, "sql": bad}, config)


def test_a_gate_that_is_not_finite_is_never_given(stack, examples):
    """Guards a bug: the last step's update was looked at by nobody."""
    config = GateConfig(num_steps=1, warmup_ratio=0.0, learning_rate=1e37, weight_decay=1e37)
    with pytest.raises(
        TrainingError, match=r"expert 'poetry': its gate of module '.+' must be finite, .* after 1"
    ):
        train_gates(stack, examples, config)


def interrupt_at(model, number):
    """Let Ctrl-C come in a model's ``number``-th pass that records gradients."""
    calls = []

    def count(module, inputs, output):
        if torch.is_grad_enabled():
            calls.append(module)
        if len(calls) == number:
            raise KeyboardInterrupt

    return model.register_forward_hook(count)


def test_an_interrupted_training_goes_on_to_the_same_bits(build_base, experts, examples, config, tmp_path):
    whole = train_gates(attach_experts(build_base().model, experts), examples, config)
    stack = attach_experts(build_base().model, experts)
    hook = interrupt_at(stack.model, 12)
    with pytest.raises(KeyboardInterrupt):
        train_gates(stack, examples, config, tmp_path)
    hook.remove()
    steps = []
    found = train_gates(stack, examples, config, tmp_path, on_step=lambda step, losses: steps.append(step))
    assert steps[0] > 1 and steps[-1] == 6
    for path, gates in whole.items():
        assert torch.equal(found[path], gates)
    again = train_gates(stack, examples, config, tmp_path, on_step=lambda step, losses: steps.append(-1))
    assert steps[-1] == 6 and all(torch.equal(again[path], gates) for path, gates in whole.items())


def test_a_folder_of_other_gates_is_refused(build_base, experts, examples, config, tmp_path):
    train_gates(attach_experts(build_base().model, experts), examples, config, tmp_path)
    changed = {**experts, "sql": experts["law"]}
    stack = attach_experts(build_base().model, changed)
    with pytest.raises(TrainingError, match=r"has another run, which differs in experts sql \('\w+' there"):
        train_gates(stack, examples, config, tmp_path)
    assert train_gates(stack, examples, config, tmp_path, fresh=True)


def test_gates_that_were_altered_are_refused(stack, examples, config, tmp_path):
    train_gates(stack, examples, config, tmp_path)
    path = tmp_path / "finished/sql/tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="delete this folder to train expert 'sql' again"):
        train_gates(stack, examples, config, tmp_path)
