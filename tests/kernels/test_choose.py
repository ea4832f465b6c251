"""Choosing experts by compiled operators, C++ and Triton (on a GPU, or interpreted), against PyTorch."""

import pytest
import torch

from lorary.kernels import cpu
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.triton_modules import is_triton_for, load_triton

DEVICES = {"cpu": "cpu", "triton": "cuda" if torch.cuda.is_available() else "cpu"}
MOST_INTERPRETED = 40  # tokens: the interpreter is slow; the C++ operators use threads only above this
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


@pytest.fixture(params=DEVICES)
def kind(request):
    return request.param


@pytest.fixture
def operators(kind):
    is_there = is_compiled_for if kind == "cpu" else is_triton_for
    if not is_there(torch.zeros(1, device=DEVICES[kind])):
        pytest.skip("needs a C++ compiler, or a CUDA device or Triton's interpreter")
    return cpu if kind == "cpu" else load_triton()


@pytest.fixture
def draw(kind):
    def draw_numbers(*size, dtype=torch.float32, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*size, generator=generator).to(DEVICES[kind], dtype)

    return draw_numbers


def assert_chosen(scores, indices, weights, temperature, abstain):
    """The best by these scores, and a softmax in which the base model may take part."""
    kept, best = scores.topk(indices.shape[1])
    assert torch.equal(indices, best)
    logits = kept if abstain is None else torch.cat([kept, kept.new_full((len(kept), 1), abstain)], 1)
    expected = (logits / temperature).softmax(-1)[:, : indices.shape[1]]
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("experts", [1, 4, 16, 17, 128, 200])
@pytest.mark.parametrize("abstain", [None, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_best_are_chosen_and_share_by_a_softmax(operators, draw, experts, temperature, abstain):
    scores = draw(300 if operators is cpu else MOST_INTERPRETED, experts)
    top_k = min(4, experts)
    indices, weights = operators.choose_best(scores, top_k, temperature, abstain)
    assert_chosen(scores, indices, weights, temperature, abstain)


@pytest.mark.parametrize("tokens", [1, 5, 16, 19, 300])
@pytest.mark.parametrize("experts", [1, 6, 130])
@pytest.mark.parametrize("abstain", [None, 0.7])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_choosing_along_prototypes_equals_scoring_and_choosing(
    operators, draw, tokens, experts, abstain, dtype
):
    tokens = tokens if operators is cpu else min(tokens, MOST_INTERPRETED)
    x, prototypes = draw(tokens, 70, dtype=dtype), draw(experts, 70, dtype=dtype, seed=2)
    scores = (x.double() @ prototypes.double().T).abs().float()
    indices, weights = operators.choose_along(x, prototypes, min(3, experts), 0.8, abstain)
    assert_chosen(scores, indices, weights, 0.8, abstain)


def test_of_equal_scores_the_first_experts_are_chosen(operators, draw):
    indices, weights = operators.choose_best(0 * draw(2, 40), 3, 1.0, None)
    assert indices.tolist() == [[0, 1, 2]] * 2
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))


def test_scores_that_are_no_numbers_come_last_and_infinite_ones_first(operators, draw):
    scores = draw(50, 60)
    scores[:, 5], scores[:, 40], scores[:, 50] = torch.nan, torch.inf, -torch.inf
    indices, weights = operators.choose_best(scores, 60, 1.0, None)
    assert (indices[:, 0] == 40).all()
    assert (indices[:, -2:].sort().values == torch.tensor([5, 50], device=indices.device)).all()
    assert torch.equal(weights[:, 0], torch.ones_like(weights[:, 0]))


def test_without_tokens_nothing_is_chosen(operators, draw):
    indices, weights = operators.choose_along(draw(0, 8), draw(4, 8), 2, 1.0, None)
    assert indices.shape == weights.shape == (0, 2)
