"""The Triton operators against their sums, on a GPU or interpreted; `test_mix.py` has more cases."""

import pytest
import torch

pytest.importorskip("triton")

from lorary.kernels import triton_ops
from lorary.kernels.checks import sum_dtype
from lorary.kernels.triton_blocks import cut_blocks
from lorary.kernels.triton_choose import score_parts
from lorary.kernels.triton_modules import is_triton_for

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
# T tokens, E experts, R rank, W width, K experts per token: below and above one block of each.
SHAPES = ((1, 1, 1, 5, 1), (40, 3, 8, 64, 2), (17, 7, 20, 130, 3), (9, 90, 16, 33, 4), (150, 2, 3, 7, 1))

pytestmark = pytest.mark.skipif(
    not is_triton_for(torch.zeros(1, device=DEVICE)), reason="needs a CUDA device or Triton's interpreter"
)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


def draw(*size, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator).to(DEVICE, dtype)


def draw_indices(tokens, experts, top_k):
    indices = torch.randint(experts, (tokens, top_k), generator=torch.Generator().manual_seed(1))
    return indices.to(DEVICE)


def spread(weighed, indices, experts):
    """Numbers of every token for every expert, ``[T, E, R]``."""
    empty = torch.zeros(len(weighed), experts, weighed.shape[2], dtype=torch.float64, device=DEVICE)
    return empty.scatter_add_(1, indices[:, :, None].expand_as(weighed), weighed.double())


def assert_near(found, expected, dtype):
    assert (found.double() - expected).norm() <= DTYPES[dtype] * expected.norm()


@pytest.fixture(params=["one by one", "sorted"])
def operators(request, monkeypatch):
    """Those of few pairs and of many, whatever their number here."""
    monkeypatch.setattr(triton_ops, "FEW_PAIRS", 10**9 if request.param == "one by one" else 0)
    return triton_ops


@pytest.mark.parametrize("with_weights", [False, True])
def test_blocks_hold_every_pair_once_and_one_owner_each(shape, with_weights):
    tokens, experts, _, _, top_k = shape
    indices = draw_indices(tokens, experts, top_k)
    indices[tokens // 2 :: 7, 0], indices[tokens // 3 :: 7, 0] = -1, experts
    weights = draw(tokens, top_k).clamp(min=0)  # half of them 0
    owners = indices.where(weights != 0, experts) if with_weights else indices.clone()
    owners = owners.where((indices >= 0) & (indices < experts), experts + 1)
    blocks = cut_blocks(indices, experts, weights if with_weights else None)
    for choice, order in enumerate(blocks.order):
        seen = []
        for owner, start, end in zip(
            *(each[choice].tolist() for each in (blocks.owners, blocks.starts, blocks.ends)), strict=True
        ):
            held = order[start : min(end, start + blocks.size)]
            assert (owners[held, choice] == owner).all()
            assert len(held) or owner > experts + 1
            seen += held.tolist()
        assert sorted(seen) == list(range(tokens))


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("index", [-1, 5, 10**9])
def test_a_token_with_an_unknown_expert_gets_no_number_and_others_theirs(operators, index, top_k):
    x, a, b_t = draw(9, 20), draw(5, 3, 20, seed=2), draw(5, 3, 30, seed=3)
    indices, weights = draw_indices(9, 5, top_k), draw(9, top_k, seed=4)
    expected = operators.mix_rows(x, a, b_t, indices, weights, None, "outputs")
    indices[4, 0] = index
    found = operators.mix_rows(x, a, b_t, indices, weights, None, "outputs")
    assert found[4].isnan().all()
    others = torch.arange(9, device=DEVICE) != 4
    torch.testing.assert_close(found[others], expected[others])


@pytest.mark.parametrize("tokens", [1, 20, 70])
@pytest.mark.parametrize("width", [5, 64, 700])
def test_parts_of_scores_add_up_to_the_scores(tokens, width, dtype):
    x, prototypes = draw(tokens, width, dtype=dtype), draw(37, width, dtype=dtype, seed=2)
    parts = score_parts(x, prototypes)
    assert (len(parts) > 1) == (width > 64)
    assert_near(parts.sum(0), x.double() @ prototypes.double().T, dtype)


def test_shrink_equals_its_sum(operators, shape, dtype):
    tokens, experts, rank, width, top_k = shape
    x, factors = draw(tokens, width, dtype=dtype), draw(experts, rank, width, dtype=dtype, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = operators.shrink_rows(x, factors, indices)
    assert found.dtype == sum_dtype(dtype)
    products = torch.einsum("tw,erw->ter", x.double(), factors.double())
    assert_near(found, products[torch.arange(tokens)[:, None], indices], dtype)


def test_expand_equals_its_sum(operators, shape, dtype):
    tokens, experts, rank, width, top_k = shape
    factors, weighed = draw(experts, rank, width, dtype=dtype), draw(tokens, top_k, rank, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = operators.expand_rows(weighed, factors, indices)
    assert found.dtype == dtype
    expected = torch.einsum("ter,erw->tw", spread(weighed, indices, experts), factors.double())
    assert_near(found, expected, dtype)


def test_gather_equals_its_sum(shape, dtype):
    tokens, experts, rank, width, top_k = shape
    x, weighed = draw(tokens, width, dtype=dtype), draw(tokens, top_k, rank, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = triton_ops.gather_rows(weighed, x, indices, experts + 1)
    assert not found[-1].any()
    expected = torch.einsum("ter,tw->erw", spread(weighed, indices, experts), x.double())
    assert_near(found[:-1], expected, dtype)
