"""The Triton operators against their sums, on a GPU or interpreted; `test_mix.py` has more cases."""

import pytest
import torch

pytest.importorskip("triton")

from lorary.kernels import is_triton_for
from lorary.kernels.cpu import sum_dtype
from lorary.kernels.triton_ops import BLOCK_PAIRS, cut_blocks, expand_rows, gather_rows, shrink_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
# T tokens, E experts, R rank, W width, K experts per token: below and above one block of each.
SHAPES = ((1, 1, 1, 5, 1), (40, 3, 8, 64, 2), (37, 7, 20, 130, 3), (20, 90, 16, 33, 4))

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


@pytest.mark.parametrize("with_weights", [False, True])
def test_blocks_hold_every_pair_once_and_one_expert_each(shape, with_weights):
    tokens, experts, _, _, top_k = shape
    indices = draw_indices(tokens, experts, top_k)
    weights = draw(tokens, top_k).clamp(min=0)  # half of them 0
    blocks = cut_blocks(indices, experts, weights if with_weights else None)
    held = blocks.places[blocks.places < tokens * top_k]
    pairs = torch.arange(tokens * top_k, device=DEVICE)
    expected = pairs[weights.flatten() != 0] if with_weights else pairs
    assert torch.equal(held.sort().values, expected)
    for k, (places, owners) in enumerate(zip(blocks.places, blocks.experts, strict=True)):
        for block, expert in zip(places.split(BLOCK_PAIRS), owners.tolist(), strict=True):
            pairs = block[block < tokens * top_k]
            assert (pairs % top_k == k).all()
            assert (indices.flatten()[pairs] == expert).all()


def test_shrink_equals_its_sum(shape, dtype):
    tokens, experts, rank, width, top_k = shape
    x, factors = draw(tokens, width, dtype=dtype), draw(experts, rank, width, dtype=dtype, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = shrink_rows(x, factors, indices)
    assert found.dtype == sum_dtype(dtype)
    products = torch.einsum("tw,erw->ter", x.double(), factors.double())
    assert_near(found, products[torch.arange(tokens)[:, None], indices], dtype)


def test_expand_equals_its_sum(shape, dtype):
    tokens, experts, rank, width, top_k = shape
    factors, weighed = draw(experts, rank, width, dtype=dtype), draw(tokens, top_k, rank, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = expand_rows(weighed, factors, indices)
    assert found.dtype == dtype
    expected = torch.einsum("ter,erw->tw", spread(weighed, indices, experts), factors.double())
    assert_near(found, expected, dtype)


def test_gather_equals_its_sum(shape, dtype):
    tokens, experts, rank, width, top_k = shape
    x, weighed = draw(tokens, width, dtype=dtype), draw(tokens, top_k, rank, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = gather_rows(weighed, x, indices, experts + 1)
    assert not found[-1].any()
    expected = torch.einsum("ter,tw->erw", spread(weighed, indices, experts), x.double())
    assert_near(found[:-1], expected, dtype)
