"""Every operator against the sum it stands for; `tests/models/test_mix.py` checks what they give together."""

import pytest
import torch

from lorary.kernels.checks import sum_dtype
from lorary.kernels.cpu import (
    expand_rows,
    gather_rows,
    is_compiled_for,
    mix_rows,
    mix_rows_kept,
    shrink_rows,
)
from lorary.models.mix_reference import mix_reference

pytestmark = pytest.mark.skipif(not is_compiled_for(torch.zeros(1)), reason="needs a C++ compiler")

DTYPES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
# Around the length of a vector, of two, of a band of columns.
WIDTHS = (1, 7, 8, 16, 31, 33, 64, 127, 129, 200)
# T tokens, E experts, R rank, K experts per token: one, few, more than are sorted at once, ranks around four.
SHAPES = ((1, 1, 1, 1), (5, 3, 3, 2), (9, 4, 4, 4), (600, 7, 5, 3), (1100, 2, 8, 1))


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


def draw(*size, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)


def draw_indices(tokens, experts, top_k):
    return torch.randint(experts, (tokens, top_k), generator=torch.Generator().manual_seed(1))


def assert_near(found, expected, dtype):
    assert (found.double() - expected).norm() <= DTYPES[dtype] * expected.norm()


@pytest.mark.parametrize("width", WIDTHS)
def test_shrink_equals_its_sum(shape, width, dtype):
    tokens, experts, rank, top_k = shape
    x, factors = draw(tokens, width, dtype=dtype), draw(experts, rank, width, dtype=dtype, seed=2)
    indices = draw_indices(tokens, experts, top_k)
    found = shrink_rows(x, factors, indices)
    assert found.dtype == sum_dtype(dtype)
    products = torch.einsum("tw,erw->ter", x.double(), factors.double())
    assert_near(found, products[torch.arange(tokens)[:, None], indices], dtype)


@pytest.mark.parametrize("width", WIDTHS)
def test_expand_equals_its_sum(shape, width, dtype):
    tokens, experts, rank, top_k = shape
    factors = draw(experts, rank, width, dtype=dtype)
    weighed = draw(tokens, top_k, rank, dtype=sum_dtype(dtype), seed=2)
    indices = draw_indices(tokens, experts, top_k)
    spread = torch.zeros(tokens, experts, rank, dtype=torch.float64)
    spread.scatter_add_(1, indices[:, :, None].expand_as(weighed), weighed.double())
    found = expand_rows(weighed, factors, indices)
    assert found.dtype == dtype
    assert_near(found, torch.einsum("ter,erw->tw", spread, factors.double()), dtype)


@pytest.mark.parametrize("width", WIDTHS)
def test_gather_equals_its_sum(shape, width, dtype):
    tokens, experts, rank, top_k = shape
    x, weighed = draw(tokens, width, dtype=dtype), draw(tokens, top_k, rank, dtype=sum_dtype(dtype), seed=2)
    indices = draw_indices(tokens, experts, top_k)
    spread = torch.zeros(tokens, experts, rank, dtype=torch.float64)
    spread.scatter_add_(1, indices[:, :, None].expand_as(weighed), weighed.double())
    found = gather_rows(weighed, x, indices, experts + 1)
    assert not found[-1].any()
    assert_near(found[:-1], torch.einsum("ter,tw->erw", spread, x.double()), dtype)


@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("with_onto", [True, False])
def test_mix_equals_the_reference(shape, dtype, combine, keep, with_onto):
    tokens, experts, rank, top_k = shape
    x, a, b = (
        draw(tokens, 70, dtype=dtype),
        draw(experts, rank, 70, dtype=dtype),
        draw(experts, 150, rank, dtype=dtype),
    )
    onto = draw(tokens, 150, dtype=dtype, seed=3) if with_onto else None
    indices, weights = (
        draw_indices(tokens, experts, top_k),
        draw(tokens, top_k, dtype=sum_dtype(dtype), seed=4),
    )
    weights[::3] = 0
    b_t = b.transpose(1, 2)
    expected = mix_reference(*(each.double() for each in (x, a, b_t)), indices, weights.double(), combine)
    expected = expected if onto is None else expected + onto.double()
    kept = None if onto is None else onto.clone()
    inputs = x, a, b_t, indices, weights, onto, combine
    found = mix_rows_kept(*inputs)[0] if keep else mix_rows(*inputs)
    assert_near(found, expected, dtype)
    assert onto is None or torch.equal(onto, kept)


def test_bfloat16_is_rounded_as_pytorch_rounds_it():
    numbers = torch.cat([draw(4096), torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 3.4e38])])
    b_t = torch.ones(1, 1, 1, dtype=torch.bfloat16)
    found = expand_rows(numbers[:, None, None], b_t, torch.zeros(len(numbers), 1, dtype=torch.int64))
    wide = expand_rows(numbers[None, None, :1], b_t.expand(1, 1, 4096), torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(found[:, 0], numbers.bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(wide, numbers[:1].bfloat16().expand(1, 4096))
    rows = numbers.bfloat16().repeat(2)[None]
    alone = expand_rows(torch.ones(1, 1, 1), rows[None], torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(alone, rows, rtol=0, atol=0, equal_nan=True)


def test_what_is_compiled_for():
    assert is_compiled_for(torch.zeros(1, dtype=torch.bfloat16))
    assert not is_compiled_for(torch.zeros(1, dtype=torch.float16))
    assert not is_compiled_for(torch.zeros(1, device="meta"))
