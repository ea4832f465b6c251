"""A tiny base model, tasks it can learn, and the training of one expert by the book."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from lorary.data import TokenizedExample
from lorary.experts import Expert, Factors
from lorary.experts.seeds import seed_for
from lorary.models import attach_experts, find_layers, layer_shape, wrap_base
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.loop.schedule import plan_batches

SIZES = {"vocab_size": 48, "hidden_size": 16, "num_attention_heads": 2}


@pytest.fixture(autouse=True)
def one_thread():
    """Compute with one thread: for models this small, handing work to a second one takes longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def at_call():
    """See ``failing_calls.py``."""
    return runpy.run_path(str(Path(__file__).with_name("failing_calls.py")))["at_call"]


@pytest.fixture(scope="session")
def tokenizer():
    words = ["<pad>", "<bos>", "<eos>", "<unk>", *"abcdefghij"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="session")
def build_base(tokenizer, tiny_config):
    """Build a seeded tiny base model with its identity."""

    def build(family="llama", dtype=torch.float32):
        own = {"intermediate_size": 24} if family == "llama" else {}
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config(family, **SIZES, **own))
        return wrap_base(model.to(dtype), tokenizer, name=f"org/tiny-{family}")

    return build


@pytest.fixture
def base(build_base):
    return build_base()


@pytest.fixture(scope="session")
def make_examples():
    """Make examples of a task: each target token is a prompt token plus a number that is the task's own."""

    def make(shift, *, num_train=10, num_validation=0):
        generator = torch.Generator().manual_seed(shift)

        def draw():
            num_prompt, num_target = torch.randint(1, 6, (2,), generator=generator).tolist()
            prompt = torch.randint(3, 40, (num_prompt,), generator=generator).tolist()
            target = [3 + (prompt[i % num_prompt] + shift) % 40 for i in range(num_target)]
            return TokenizedExample(tuple(prompt), tuple(target))

        train, validation = ([draw() for _ in range(count)] for count in (num_train, num_validation))
        return TrainingExamples(train=tuple(train), validation=tuple(validation), tasks=(f"shift {shift}",))

    return make


@pytest.fixture(scope="session")
def make_config():
    """Make a configuration for a few quick steps."""

    def make(**changes):
        settings = {"rank": 2, "alpha": 8, "batch_size": 3, "learning_rate": 1e-2, "max_steps": 5}
        return TrainConfig(**{**settings, **changes})

    return make


@pytest.fixture(scope="session")
def compute_loss():
    """The mean loss of target tokens, one sequence at a time."""

    def compute(model, examples):
        losses = []
        for example in examples:
            ids = torch.tensor([[*example.prompt_ids, *example.target_ids]])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(example.prompt_ids) - 1 : -1].float()
            losses.append(F.cross_entropy(logits, torch.tensor(example.target_ids), reduction="sum"))
        return sum(losses) / sum(len(example.target_ids) for example in examples)

    return compute


@pytest.fixture(scope="session")
def train_by_the_book(compute_loss):
    """Train one expert with hooks, autograd and ``torch.optim.AdamW``: no slots, no packing, no sharing."""

    def train(base, name, examples, config):
        layers = find_layers(base.model, config.target_modules)
        generator = torch.Generator().manual_seed(seed_for(config.seed, name))
        factors, hooks = {}, []
        for path, layer in layers.items():
            width_in, width_out = layer_shape(layer)
            a = (torch.rand(config.rank, width_in, generator=generator) * 2 - 1) / math.sqrt(width_in)
            factors[path] = (a.requires_grad_(), torch.zeros(width_out, config.rank, requires_grad=True))
            hooks.append(layer.register_forward_hook(add_change(*factors[path], config.scale)))
        parameters = [tensor for pair in factors.values() for tensor in pair]
        optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=config.weight_decay)
        batches = plan_batches(
            [len(example) for example in examples.train],
            config.batch_size,
            seed=seed_for(config.seed, name),
            epochs=config.epochs,
            max_steps=config.max_steps,
            max_tokens=config.max_tokens,
        )
        curve = []
        num_warmup = math.ceil(len(batches) * config.warmup_ratio)
        for step, batch in enumerate(batches):
            loss = compute_loss(base.model, [examples.train[index] for index in batch])
            optimizer.zero_grad()
            loss.backward()
            if config.max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            rise = (step + 1) / num_warmup if step < num_warmup else 1.0
            done = max(0, step - num_warmup) / max(1, len(batches) - num_warmup)
            fall = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
            optimizer.param_groups[0]["lr"] = config.learning_rate * rise * fall[config.schedule]
            optimizer.step()
            curve.append((step + 1, loss.item()))
        for hook in hooks:
            hook.remove()
        return {path: (a.detach(), config.scale * b.detach()) for path, (a, b) in factors.items()}, curve

    return train


def add_change(a, b, scale):
    return lambda layer, inputs, output: output + scale * (inputs[0] @ a.T @ b.T)


@pytest.fixture(scope="session")
def assert_same_factors():
    """Assert that two experts hold the same numbers, but for rounding."""

    def check(found, expected, tolerance=1e-4):
        assert found.keys() == expected.keys()
        for path, pair in found.items():
            for letter, one, other in zip("ab", pair, expected[path], strict=True):
                assert one.isfinite().all() and other.any(), (path, letter)
                error = float((one - other).norm() / other.norm())
                assert error < tolerance, f"{letter} of {path} differs by {error:.1e} of its length"

    return check


@pytest.fixture(scope="session")
def is_plain():
    """Tell whether a base model is as ``transformers`` made it."""

    def check(model):
        names = {type(module).__name__ for module in model.modules()}
        return "ExpertLinear" not in names and bool({"Linear", Conv1D.__name__} & names)

    return check


@pytest.fixture(scope="session")
def make_expert():
    """Make a seeded random expert for a model, strong enough to change its logits."""

    def make(model, name, seed):
        generator = torch.Generator().manual_seed(seed)
        factors = {}
        for path, layer in find_layers(model, "all-linear").items():
            width_in, width_out = layer_shape(layer)
            a, b = (
                torch.randn(2, width_in, generator=generator),
                torch.randn(width_out, 2, generator=generator),
            )
            factors[path] = Factors(0.2 * a, 0.2 * b)
        return Expert(name, "org/tiny-llama", factors)

    return make


@pytest.fixture
def experts(base, make_expert):
    """Three experts of the tiny base model."""
    return {name: make_expert(base.model, name, seed) for seed, name in enumerate(("poetry", "sql", "law"))}


@pytest.fixture
def stack(base, experts):
    """The three experts on their base model."""
    return attach_experts(base.model, experts)


@pytest.fixture
def examples(make_examples):
    """Three tasks of different sizes, so that their plans differ too."""
    names = ("alpha", "beta", "gamma")
    return {name: make_examples(shift, num_train=8 + 2 * shift) for shift, name in enumerate(names, 1)}
