import pytest
import torch
from torch import nn
from torch.distributions.relaxed_bernoulli import RelaxedBernoulli

from lorary.experts.skills.mixing import WEIGHTINGS, check_splits, compute_weights, mix_skills

SIZES = [(1, 4, 64, 128), (8, 3, 128, 64), (64, 1, 64, 192)]  # Q, R, I, O
SKILLS, TASKS = 3, 4


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def make_layer(peft):
    """A layer of PEFT's Poly with random factors and logits."""
    from peft.tuners.poly.layer import Linear

    def make(splits, rank, width_in, width_out):
        base = nn.Linear(width_in, width_out, bias=False)
        nn.init.zeros_(base.weight).requires_grad_(False)
        config = peft.PolyConfig(r=rank, n_tasks=TASKS, n_skills=SKILLS, n_splits=splits)
        layer = Linear(base, "default", config)
        with torch.no_grad():
            for number, parameter in enumerate(list_parameters(layer)):
                parameter.copy_(draw(*parameter.shape, seed=number)).requires_grad_()
        return layer

    return make


def list_parameters(layer):
    return [
        layer.poly_lora_A["default"],
        layer.poly_lora_B["default"],
        layer.poly_router["default"].module_logits,
    ]


def run_ours(x, a, b, logits, splits, weighting="sigmoid", noise=None):
    """Compute the change of each row of a batch, of which each has a task; A and B as PEFT has them."""
    rank = a.shape[-1]
    weights = compute_weights(logits, splits, weighting, noise)
    mixed_a = mix_skills(a.permute(1, 3, 0, 2).flatten(2), weights)  # [P, R, I]
    mixed_b = mix_skills(b.permute(1, 2, 0, 3).flatten(2) / rank, weights)  # [P, R, O]
    return (x @ mixed_a.transpose(1, 2)) @ mixed_b


def run_naive(x, a, b, logits, splits):
    """Compute the same task by task, block by block and skill by skill."""
    _, num_skills, _, rank = a.shape
    outputs = []
    for own, row in zip(x, logits, strict=True):
        scores = torch.sigmoid(row).view(splits, num_skills)
        h = 0
        for q, block in enumerate(own.chunk(splits, -1)):
            h = h + block @ sum(scores[q, s] / scores[q].sum() * a[q, s] for s in range(num_skills))
        blocks = [
            h @ sum(scores[q, s] / scores[q].sum() * b[q, s] for s in range(num_skills))
            for q in range(splits)
        ]
        outputs.append(torch.cat(blocks, -1) / rank)
    return torch.stack(outputs)


@pytest.mark.parametrize(("splits", "rank", "width_in", "width_out"), SIZES)
def test_forward_and_gradients_are_those_of_a_loop_over_tasks(splits, rank, width_in, width_out):
    a = draw(splits, SKILLS, width_in // splits, rank).double().requires_grad_()
    b = draw(splits, SKILLS, rank, width_out // splits, seed=1).double().requires_grad_()
    logits = draw(TASKS, splits * SKILLS, seed=2).double().requires_grad_()
    x = draw(TASKS, 5, width_in, seed=3).double()
    found, expected = (run(x, a, b, logits, splits) for run in (run_ours, run_naive))
    torch.testing.assert_close(found, expected)
    seed = draw(*found.shape, seed=4).double()
    gradients = [torch.autograd.grad(y, (a, b, logits), seed) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("splits", "rank", "width_in", "width_out"), SIZES)
def test_forward_and_gradients_are_those_of_pefts_layer(
    make_layer, splits, rank, width_in, width_out, training
):
    layer = make_layer(splits, rank, width_in, width_out).train(training)
    x = draw(TASKS, 5, width_in, seed=3)
    parameters = list_parameters(layer)
    torch.manual_seed(7)
    expected = layer(x, task_ids=torch.arange(TASKS))
    torch.manual_seed(7)
    noise = torch.rand(TASKS, splits * SKILLS) if training else None
    found = run_ours(x, *parameters, splits, "relaxed" if training else "sigmoid", noise)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    seed = draw(*found.shape, seed=4)
    gradients = [torch.autograd.grad(y, parameters, seed) for y in (found, expected)]
    torch.testing.assert_close(*gradients, atol=2e-3, rtol=1e-3)


def test_relaxed_weights_are_those_of_pytorchs_distribution():
    logits = draw(6, 8)
    torch.manual_seed(3)
    sample = RelaxedBernoulli(temperature=1.0, logits=logits).rsample().view(6, 2, 4)
    torch.manual_seed(3)
    found = compute_weights(logits, 2, "relaxed", torch.rand(6, 8))
    torch.testing.assert_close(found, sample / sample.sum(-1, keepdim=True))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_weights_of_a_split_sum_to_1(weighting):
    noise = None if weighting == "sigmoid" else draw_noise(50, 12)
    sums = compute_weights(draw(50, 12) + 3, 3, weighting, noise).sum(-1)
    torch.testing.assert_close(sums, torch.ones(50, 3))


def test_straight_through_weights_are_rounded_and_have_the_gradients_of_relaxed_ones():
    logits, noise = draw(50, 8).requires_grad_(), draw_noise(50, 8)
    hard = compute_weights(logits, 2, "straight_through", noise)
    count = (hard.detach() > 1e-6).sum(-1, keepdim=True)
    is_used = hard.detach() > 1e-6
    torch.testing.assert_close(hard.detach(), is_used / count.clamp(min=1))
    relaxed = compute_weights(logits, 2, "relaxed", noise)
    gradients = [torch.autograd.grad((w * draw(50, 2, 4)).sum(), logits)[0] for w in (hard, relaxed)]
    torch.testing.assert_close(*gradients)


def test_straight_through_weights_are_0_where_all_samples_are_rounded_to_0():
    """Guards against infinite gradients of a quotient of zeros."""
    logits = torch.full((1, 3), -9.0, requires_grad=True)
    weights = compute_weights(logits, 1, "straight_through", torch.full((1, 3), 0.5))
    weights[..., 0].sum().backward()
    torch.testing.assert_close(weights.detach(), torch.zeros(1, 1, 3), atol=1e-6, rtol=0)
    assert logits.grad.abs().max() < 1


def test_extreme_noise_gives_finite_weights():
    noise = torch.tensor([[0.0, 1 - 2**-24, 0.5]])
    assert compute_weights(torch.zeros(1, 3), 1, "relaxed", noise).isfinite().all()


@pytest.mark.parametrize(("weighting", "noise"), [("sigmoid", torch.rand(1, 2)), ("relaxed", None)])
def test_noise_must_suit_the_weighting(weighting, noise):
    with pytest.raises(
        ValueError, match=f"noise must be given for all weightings except 'sigmoid', found '{weighting}'"
    ):
        compute_weights(torch.zeros(1, 2), 1, weighting, noise)


def test_an_unknown_weighting_is_refused():
    with pytest.raises(
        ValueError, match="must be one of relaxed, sigmoid, straight_through, found 'softmax'"
    ):
        compute_weights(torch.zeros(1, 2), 1, "softmax")


def test_splits_that_do_not_divide_name_layers_and_divisors():
    sizes = {"q": (64, 64), "up": (64, 96), "odd": (64, 32)}
    check_splits(sizes, 16)
    message = (
        r"64 does not divide those of 'up' \(64 to 96\), 'odd' \(64 to 32\): "
        "use 1 or 2 or 4 or 8 or 16 or 32$"
    )
    with pytest.raises(ValueError, match=message):
        check_splits(sizes, 64)
    with pytest.raises(ValueError, match="at least 1, found 0"):
        check_splits(sizes, 0)
