import math
import os
import signal
from itertools import count

import pytest
import torch

from lorary.errors import IncompatibleExpert, TrainingError
from lorary.experts import Expert, ExpertCard, Factors
from lorary.models import attach_experts, find_layers, layer_shape
from lorary.models.checkpointing import checkpoint_layers
from lorary.passes import split_passes
from lorary.passes.layout import Layout
from lorary.routing.moe.router import MoeRouter
from lorary.routing.moe.scores import score_moe, split_parameters
from lorary.training import MoeConfig, TrainConfig, TrainingExamples, memory, train_moe
from lorary.training.joined_tasks import join_tasks
from lorary.training.loop.batch_losses import BatchLosses
from lorary.training.loop.schedule import plan_batches, seed_for
from lorary.training.objectives.moe import MoeExperts
from lorary.training.objectives.moe_chooser import NoiseSource
from lorary.training.objectives.moe_start import start_at_random

TARGETS = ["q_proj", "down_proj"]
NAMES = ("sql", "law", "ode", "art", "tax")
TRAIN = {
    "batch_size": 4,
    "learning_rate": 1e-3,
    "max_steps": 4,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "max_grad_norm": None,
    "checkpoint_seconds": 0,
}
CASES = {
    "linear": {},
    "all": {"weighting": "all", "top_k": 1, "input_norm": "rms"},
    "shared": {"shared": ["law"], "shared_gate": True},
    "always": {"shared": ["law", "tax"], "input_norm": "none"},
    "groups": {"groups": {"a": ["sql", "art"], "b": ["law", "ode", "tax"]}, "weighting": "all"},
    "kept groups": {"groups": {"a": ["sql", "art"], "b": ["law", "ode", "tax"]}},
    "keys": {"kind": "product_keys", "query_size": 6},
    "all keys": {"kind": "product_keys", "query_size": 6, "weighting": "all", "top_k": 3},
    "trained": {"train_experts": True},
}


def make_config(train=None, **changes):
    settings = {
        "warm_start": "none",
        "balance": 0.3,
        "z_loss": 0.1,
        "router_learning_rate": 1e-3,
        **changes,
    }
    return MoeConfig(train=TrainConfig(**{**TRAIN, **(train or {})}), **settings)


@pytest.fixture
def examples(make_examples):
    return {
        name: make_examples(shift, num_train=4 + shift, num_validation=3)
        for name, shift in (("sql", 2), ("law", 5))
    }


def test_experts_that_do_not_fit_are_refused(base, experts, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 1000)
    with pytest.raises(TrainingError, match=r"or the number of experts \(now 5 at a time\)"):
        train_moe(base, experts, examples, make_config(train_experts=True), tmp_path / "run")
    assert train_moe(base, experts, examples, make_config({"max_steps": 1}), tmp_path / "run").experts


@pytest.fixture
def experts(base):
    generator = torch.Generator().manual_seed(3)
    layers = find_layers(base.model, TARGETS)

    def draw(rank):
        return {
            path: Factors(
                torch.randn(rank, layer_shape(layer)[0], generator=generator) / 2,
                torch.randn(layer_shape(layer)[1], rank, generator=generator) / 2,
            )
            for path, layer in layers.items()
        }

    card = ExpertCard(base_fingerprint=base.fingerprint)
    return {name: Expert(name, base.name, draw(1 + place % 3), card) for place, name in enumerate(NAMES)}


def score_token(form, own, x):
    """Scores of all routed experts, and of groups, of one normalised input."""
    if form.kind == "product_keys":
        query, half = own["query"] @ x, form.query_size // 2
        rows = own["first"] @ query[:half]
        columns = own["second"] @ query[half:]
        return [rows[cell // form.num_columns] + columns[cell % form.num_columns] for cell in form.cells], (
            rows,
            columns,
        )
    return list(own["rows"] @ x), None if form.groups is None else own["groups"] @ x


def choose_by_hand(form, scores, extra):
    """Place and weight of each routed expert of one token, by sorting."""

    def best(many, k):
        return sorted(range(len(many)), key=lambda e: -float(many[e].detach()))[:k]

    def total(many):
        return sum(score.exp() for score in many)

    if form.groups is None:
        kept = best(scores, form.top_k)
        among = [scores[e] for e in kept] if form.weighting == "kept" else scores
        return {e: scores[e].exp() / total(among) for e in kept}
    found = {}
    groups = best(extra, form.top_groups)
    for g in groups:
        share = extra[g].exp() / total(
            [extra[h] for h in groups] if form.weighting == "kept" else list(extra)
        )
        members = [e for e, group in enumerate(form.groups) if group == g]
        kept = [members[i] for i in best([scores[e] for e in members], form.top_k)]
        among = kept if form.weighting == "kept" else members
        found |= {e: share * scores[e].exp() / total([scores[m] for m in among]) for e in kept}
    return found


class Book:
    """A dense mixture of experts: every token by itself, every chosen expert in full."""

    def __init__(self, base, experts, form, starts, config):
        self.base, self.experts, self.form, self.config = base, experts, form, config
        self.layers = find_layers(base.model, TARGETS)
        self.parameters = {path: own.clone().requires_grad_() for path, own in starts.items()}
        self.factors = {
            f"{name}.{path}.{letter}": getattr(expert.factors[path], letter).clone().requires_grad_()
            for name, expert in experts.items()
            for path in self.layers
            for letter in "ab"
        }

    def losses(self, batch, compute_loss):
        """The task loss of a batch, and its penalty."""
        self.log = {path: [] for path in self.layers}
        total = sum(self.run(example, compute_loss) * len(example.target_ids) for example in batch)
        loss = total / sum(len(example.target_ids) for example in batch)
        penalty = sum(self.penalise(self.log[path]) for path in self.layers) / len(self.layers)
        return loss, penalty

    def run(self, example, compute_loss):
        length = len(example) - 1
        hooks = [
            layer.register_forward_hook(
                lambda _, inputs, y, path=path: y + self.mix(path, inputs[0][0], length)[None]
            )
            for path, layer in self.layers.items()
        ]
        loss = compute_loss(self.base.model, [example])
        for hook in hooks:
            hook.remove()
        return loss

    def mix(self, path, x, length):
        form, width = self.form, x.shape[1]
        own, offset = {}, 0
        for name, shape in form.outline(width).items():
            own[name] = self.parameters[path][offset : offset + math.prod(shape)].view(shape)
            offset += math.prod(shape)
        out = []
        for place, token in enumerate(x):
            size = {"none": 1.0, "unit": token.norm(), "rms": token.norm() / width**0.5}[form.input_norm]
            scores, extra = score_token(form, own, token / size)
            chosen = choose_by_hand(form, scores, extra)
            if place < length:
                self.log[path].append((scores, extra, chosen))
            weights = {form.experts[e]: weight for e, weight in chosen.items()}
            for s, name in enumerate(form.shared):
                weights[name] = torch.sigmoid(own["shared"][s] @ token / size) if form.shared_gate else 1.0
            out.append(
                sum(
                    weight * (self.factors[f"{name}.{path}.b"] @ (self.factors[f"{name}.{path}.a"] @ token))
                    for name, weight in weights.items()
                )
            )
        return torch.stack(out)

    def penalise(self, log):
        form, config = self.form, self.config
        if form.kind == "product_keys":
            pick = (lambda e: form.cells[e] // form.num_columns, lambda e: form.cells[e] % form.num_columns)
            balance = 0
            for half in (0, 1):
                shares = sum(extra[half].softmax(0) for _, extra, _ in log) / len(log)
                counts = torch.zeros(len(shares))
                for _, _, chosen in log:
                    for e in chosen:
                        counts[pick[half](e)] += 1
                balance = balance + len(shares) * (counts / counts.sum() * shares).sum() / 2
            z = sum((extra[0].logsumexp(0) + extra[1].logsumexp(0)) ** 2 for _, extra, _ in log) / len(log)
        else:
            shares = torch.zeros(len(form.experts))
            counts = torch.zeros(len(form.experts))
            z = 0
            for scores, extra, chosen in log:
                scores = torch.stack(scores)
                if form.groups is None:
                    shares = shares + scores.softmax(0) / len(log)
                    z = z + scores.logsumexp(0) ** 2 / len(log)
                else:
                    inner = []
                    for g in range(form.num_groups):
                        members = torch.tensor([e for e, group in enumerate(form.groups) if group == g])
                        own = scores[members].softmax(0) * extra.softmax(0)[g] / len(log)
                        shares = shares.index_add(0, members, own)
                        inner.append(scores[members].logsumexp(0) ** 2)
                    z = z + (extra.logsumexp(0) ** 2 + sum(inner) / len(inner)) / len(log)
                for e in chosen:
                    counts[e] += 1
            balance = len(shares) * (counts / counts.sum() * shares).sum()
        return config.balance * balance + config.z_loss * z


def find_gradients(base, experts, examples, config, starts):
    """Loss and gradient of a first step with all examples: name of a parameter -> gradient."""
    stack = attach_experts(base.model, experts, torch.float32)
    objective = MoeExperts(stack, config.make_form(list(experts)), starts, config)
    objective.start("moe", 0, 3)
    losses = BatchLosses(objective, config.train.loop, 12).add_gradients({0: examples}, lambda: None)
    stack.detach()
    return losses[0], objective.rows.split_row(objective.rows.gradients[0].clone())


def make_starts(base, form, seed):
    widths = {path: layer_shape(layer)[0] for path, layer in find_layers(base.model, TARGETS).items()}
    return start_at_random(widths, form, seed)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_a_dense_mixture(base, examples, experts, compute_loss, case):
    config = make_config(**CASES[case])
    form = config.make_form(list(experts))
    starts = make_starts(base, form, 7)
    batch = [example for found in examples.values() for example in found.train[:3]]
    book = Book(base, experts, form, starts, config)
    loss, penalty = book.losses(batch, compute_loss)
    wanted = {f"{path}.router": own for path, own in book.parameters.items()}
    expected = torch.autograd.grad(
        loss + penalty, [*wanted.values(), *book.factors.values()], allow_unused=True
    )
    for tokens_per_pass in (4000, 14):
        config = make_config({"tokens_per_pass": tokens_per_pass}, **CASES[case])
        found_loss, found = find_gradients(base, experts, batch, config, starts)
        assert found_loss == pytest.approx(loss.item(), rel=1e-4)
        for name, gradient in zip(wanted, expected, strict=False):
            assert gradient.abs().max() > 1e-4
            torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3)
        if config.train_experts:
            for key, gradient in zip(book.factors, expected[len(wanted) :], strict=True):
                name, _, rest = key.partition(".")
                path, letter = rest[:-2], rest[-1]
                own = found[f"{path}.{'a' if letter == 'a' else 'b_t'}"][NAMES.index(name)]
                own = own if letter == "a" else own.T
                rank = experts[name].factors[path].rank
                own, rest = (own[:rank], own[rank:]) if letter == "a" else (own[:, :rank], own[:, rank:])
                torch.testing.assert_close(own, gradient, atol=2e-5, rtol=1e-3)
                assert not rest.any()


def test_steps_are_those_of_adamw_with_rates_of_their_own(base, tmp_path, examples, experts, compute_loss):
    config = make_config({"max_steps": 3}, train_experts=True, router_learning_rate=5e-3)
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    form = config.make_form(list(experts))
    book = Book(base, experts, form, make_starts(base, form, seed_for(0, "router")), config)
    groups = [book.parameters.values(), book.factors.values()]
    optimizers = [
        torch.optim.AdamW(own, lr=rate, weight_decay=0.0)
        for own, rate in zip(groups, (5e-3, 1e-3), strict=True)
    ]
    unit = join_tasks(examples, is_balanced=True)
    losses = []
    for batch in plan_batches([len(e) for e in unit.train], 4, seed=seed_for(0, "moe"), max_steps=3):
        loss, penalty = book.losses([unit.train[index] for index in batch], compute_loss)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (loss + penalty).backward(inputs=[own for group in groups for own in group])
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    found = [loss for _, loss in outcome.progress.train_curve]
    torch.testing.assert_close(found, losses, atol=1e-4, rtol=1e-4)
    for path, joined in outcome.router.layers.items():
        torch.testing.assert_close(joined, book.parameters[path].detach(), atol=1e-3, rtol=1e-2)
    for old, new in zip(experts, outcome.experts.values(), strict=True):
        assert new.name == f"moe-{old}" and new.card.parents == (old,)
        for path, pair in new.factors.items():
            for letter in "ab":
                expected = book.factors[f"{old}.{path}.{letter}"].detach()
                torch.testing.assert_close(getattr(pair, letter), expected, atol=5e-4, rtol=1e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": "gaussian", "train_experts": True},
        {"noise": "jitter", "jitter": 0.3, "kind": "product_keys", "query_size": 6},
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(base, tmp_path, examples, experts, changes):
    config = make_config({"max_steps": 5, "validate_every": 2, "tokens_per_pass": 20}, **changes)
    whole = train_moe(base, experts, examples, config, tmp_path / "whole")
    for moment in (3, 2, 4):
        child = os.fork()
        if child == 0:
            left = count(1)

            def follow(event, left=left, moment=moment):
                if next(left) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

            train_moe(base, experts, examples, config, tmp_path / "killed", on_progress=follow)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    for outcome in [train_moe(base, experts, examples, config, tmp_path / "killed") for _ in range(2)]:
        assert outcome.progress.train_curve == whole.progress.train_curve
        assert outcome.usage == whole.usage
        for path, own in whole.router.layers.items():
            assert torch.equal(outcome.router.layers[path], own)
        for mine, theirs in zip(whole.experts.values(), outcome.experts.values(), strict=True):
            assert mine.card == theirs.card and mine.name == theirs.name
            assert all(torch.equal(mine.factors[p].b, theirs.factors[p].b) for p in mine.factors)


@pytest.mark.parametrize("noise", ["none", "gaussian"])
def test_running_layers_again_in_backward_does_not_matter(base, examples, experts, noise):
    starts = make_starts(base, make_config().make_form(list(experts)), 7)
    batch = examples["sql"].train
    config = make_config(noise=noise)
    _, plain = find_gradients(base, experts, batch, config, starts)
    stack = attach_experts(base.model, experts, torch.float32)
    objective = MoeExperts(stack, config.make_form(list(experts)), starts, config)
    objective.start("moe", 0, 3)
    with checkpoint_layers(stack):
        BatchLosses(objective, config.train.loop, 12).add_gradients({0: batch}, lambda: None)
    stack.detach()
    for name, gradient in objective.rows.split_row(objective.rows.gradients[0].clone()).items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ["linear", "groups", "keys", "shared"])
def test_training_lowers_the_loss_below_equal_weights(base, tmp_path, examples, experts, case):
    config = make_config(
        {"max_steps": 60, "batch_size": 8},
        balance=0.0,
        z_loss=0.0,
        router_learning_rate=0.1,
        **CASES[case],
    )
    curve = train_moe(base, experts, examples, config, tmp_path / "run").progress.train_curve
    assert sum(loss for _, loss in curve[-6:]) < 0.97 * sum(loss for _, loss in curve[:6])


def test_the_balance_loss_evens_out_the_use_of_experts(base, tmp_path, examples, experts):
    entropies = []
    for balance in (0.0, 10.0):
        config = make_config(
            {"max_steps": 20},
            balance=balance,
            z_loss=0.0,
            warm_start="means",
            start_scale=4.0,
            router_learning_rate=0.1,
        )
        start = draw_rows(base)
        usage = train_moe(base, experts, examples, config, tmp_path / str(balance), start=start).usage
        entropies.append(sum(usage.entropy.values()) / len(usage.entropy))
        assert all(sum(own.values()) == pytest.approx(1) for own in usage.shares.values())
    assert entropies[1] > entropies[0]


def test_a_trained_router_has_the_validation_loss_of_the_run(base, tmp_path, examples, experts, compute_loss):
    config = make_config({"validate_every": 4}, shared=["ode"], shared_gate=True)
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    stack = attach_experts(base.model, experts)
    routers = {
        path: MoeRouter(outcome.router.form, own, list(experts))
        for path, own in outcome.router.layers.items()
    }
    batch = [example for found in examples.values() for example in found.validation]
    with torch.no_grad(), stack.choosing(stack.layer_routers(routers)):
        assert float(compute_loss(base.model, batch)) == pytest.approx(outcome.progress.best_loss, rel=1e-4)
    stack.detach()


@pytest.mark.parametrize("case", ["linear", "kept groups"])
def test_a_warm_start_scores_like_its_prototypes(base, tmp_path, examples, experts, case):
    """With as good as no learning rate, each token keeps the experts that its signed prototypes prefer."""
    start = draw_rows(base)
    config = make_config(
        {"max_steps": 1}, warm_start="means", start_scale=3.0, router_learning_rate=1e-12, **CASES[case]
    )
    router = train_moe(base, experts, examples, config, tmp_path / "run", start=start).router
    for path, joined in router.layers.items():
        width = start[path].shape[1]
        rows = joined[: 5 * width].view(5, width)
        centred = start[path] - start[path].mean(0)
        cosines = torch.nn.functional.cosine_similarity(rows, centred)
        torch.testing.assert_close(cosines, torch.ones(5))
        ratios = rows.norm(dim=1) / centred.norm(dim=1)
        torch.testing.assert_close(ratios, ratios[:1].expand(5))


def test_prototypes_get_signs_and_product_keys_the_nearest_sums(base, tmp_path, examples, experts):
    start = draw_rows(base)
    flipped = {path: -own for path, own in start.items()}
    config = make_config(
        {"max_steps": 1},
        warm_start="prototypes",
        kind="product_keys",
        query_size=16,
        router_learning_rate=1e-12,
    )
    one, other = (
        train_moe(base, experts, examples, config, tmp_path / str(number), start=rows).router
        for number, rows in enumerate((start, flipped))
    )
    form = one.form
    for path, joined in one.layers.items():
        torch.testing.assert_close(joined, other.layers[path])
        parts = split_parameters(form, joined, start[path].shape[1])
        table = [
            parts[half] @ query
            for half, query in (("first", parts["query"][:8]), ("second", parts["query"][8:]))
        ]
        sums = torch.stack(
            [table[0][c // form.num_columns] + table[1][c % form.num_columns] for c in form.cells]
        )
        # The nearest sums leave a rest without sums of rows or of columns.
        signs = torch.sign((sums * start[path]).sum(1))
        assert set(signs.tolist()) <= {1.0, -1.0}


def draw_rows(base):
    generator = torch.Generator().manual_seed(1)
    return {
        path: torch.randn(5, layer_shape(layer)[0], generator=generator)
        for path, layer in find_layers(base.model, TARGETS).items()
    }


def test_the_base_model_is_plain_afterwards(base, tmp_path, examples, experts):
    before = {name: type(module) for name, module in base.model.named_modules()}
    train_moe(base, experts, examples, make_config(train_experts=True), tmp_path / "run")
    assert {name: type(module) for name, module in base.model.named_modules()} == before


def test_faults_of_inputs_are_reported_at_once(base, tmp_path, experts):
    config = make_config(top_k=6, warm_start="prototypes")
    with pytest.raises(ValueError, match="top_k") as caught:
        train_moe(base, experts, {"sql": TrainingExamples(train=())}, config, tmp_path / "run")
    for fault in (
        "top_k must be at most the number of routed experts, 5, found 6",
        "task 'sql' must have at least one training example, found none",
        "warm_start 'prototypes' needs rows for each expert and layer, found none: pass start=…",
    ):
        assert fault in str(caught.value)
    with pytest.raises(ValueError, match="there must be experts to route to, found none; there must be exam"):
        train_moe(base, {}, {}, make_config(), tmp_path / "run")


def test_rows_of_other_layers_and_experts_of_another_base_are_refused(base, tmp_path, examples, experts):
    config = make_config(warm_start="means")
    with pytest.raises(
        ValueError, match=r"a warm start needs rows \[5, 16\] of layer .*q_proj'.* found none"
    ):
        train_moe(base, experts, examples, config, tmp_path / "run", start={})
    other = {name: expert.with_base("org/other") for name, expert in experts.items()}
    with pytest.raises(IncompatibleExpert, match="org/other"):
        train_moe(base, other, examples, make_config(), tmp_path / "run")


def test_another_start_or_noise_by_passes_is_another_run(base, tmp_path, examples, experts):
    train_moe(base, experts, examples, make_config(noise="jitter"), tmp_path / "run")
    for changed in (
        make_config({"tokens_per_pass": 31}, noise="jitter"),
        make_config({"seed": 5}, noise="jitter"),
    ):
        with pytest.raises(TrainingError, match="has another run, which differs in"):
            train_moe(base, experts, examples, changed, tmp_path / "run")


@pytest.mark.parametrize("kind", ["linear", "product_keys"])
def test_gaussian_noise_is_of_trained_amounts_and_jitter_of_inputs(base, examples, experts, kind):
    """Noise of a pass is drawn again equally, and is softplus(x · u) times a normal number."""
    config = make_config(noise="gaussian", kind=kind, query_size=4)
    form = config.make_form(list(experts))
    starts = make_starts(base, form, 7)
    stack = attach_experts(base.model, experts)
    objective = MoeExperts(stack, form, starts, config)
    objective.start("moe", 0, 3)
    [part] = split_passes(examples["sql"].train, [0] * 6, Layout.PACKED, tokens_per_pass=400, row_length=64)
    path, layer = next(iter(stack.layers.items()))
    x = torch.randn(9, layer.a.shape[2], generator=torch.Generator().manual_seed(1))
    rows = torch.zeros(9, dtype=torch.long)
    plain = objective.make_chooser(part)
    noisy = objective.make_chooser(part, NoiseSource(3, None))
    scores = score_moe(form, split_parameters(form, plain.parameters[path], x.shape[1]), x)
    shaken = noisy._add_noise(path, scores, x)
    for name in ("experts", "first", "second"):
        if getattr(scores, name) is not None:
            difference = (getattr(shaken, name) - getattr(scores, name)).detach()
            assert difference.abs().max() > 0.3  # amounts start at softplus(0)
            assert difference.std() == pytest.approx(math.log(2), rel=0.5)
    again = objective.make_chooser(part, NoiseSource(3, None)).choose(path, x, rows)
    assert torch.equal(noisy.choose(path, x, rows).weights, again.weights)
    jitter = objective.make_chooser(part, NoiseSource(3, 0.2))
    ratio = jitter._shake(path, x) / x
    assert 0.8 <= float(ratio.min()) < 0.9 and 1.1 < float(ratio.max()) <= 1.2
    stack.detach()


@pytest.mark.parametrize(("family", "targets"), [("gpt2", ["c_attn", "c_proj"]), ("llama", ["q_proj"])])
def test_other_layers_and_16_bit_numbers_are_trained_and_routed_the_same(
    build_base, tmp_path, examples, compute_loss, family, targets
):
    base = build_base(family, torch.bfloat16)
    generator = torch.Generator().manual_seed(3)
    sizes = {path: layer_shape(layer) for path, layer in find_layers(base.model, targets).items()}
    experts = {
        name: Expert(
            name,
            base.name,
            {
                path: Factors(
                    torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator) / 4
                )
                for path, (width, out) in sizes.items()
            },
            ExpertCard(base_fingerprint=base.fingerprint),
        )
        for name in NAMES[:3]
    }
    config = make_config({"max_steps": 2, "validate_every": 2})
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    stack = attach_experts(base.model, experts)
    routers = {
        path: MoeRouter(outcome.router.form, own, list(experts))
        for path, own in outcome.router.layers.items()
    }
    batch = [example for found in examples.values() for example in found.validation]
    with torch.no_grad(), stack.choosing(stack.layer_routers(routers)):
        assert float(compute_loss(base.model, batch)) == pytest.approx(outcome.progress.best_loss, rel=0.02)
    stack.detach()
