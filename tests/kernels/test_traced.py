"""The operators as nodes of a graph: what PyTorch asks of such, and the same numbers."""

import pytest
import torch

from lorary.kernels import cpu
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.traced import OPERATORS, _choose_along, _choose_best, _mix_rows
from lorary.kernels.triton_modules import is_triton_for, load_triton

TOKENS, EXPERTS, RANK, INPUTS, OUTPUTS, TOP_K = 5, 7, 3, 12, 9, 2


def draw(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["cpu", "triton"])
def kind(request):
    if not {"cpu": is_compiled_for, "triton": is_triton_for}[request.param](torch.zeros(1)):
        pytest.skip("needs a C++ compiler, or a CUDA device or Triton's interpreter")
    return request.param


@pytest.fixture
def mixing():
    indices = torch.randint(EXPERTS, (TOKENS, TOP_K), generator=torch.Generator().manual_seed(1))
    return (
        draw(TOKENS, INPUTS),
        draw(EXPERTS, RANK, INPUTS),
        draw(EXPERTS, RANK, OUTPUTS),
        indices,
        draw(TOKENS, TOP_K).abs(),
        draw(TOKENS, OUTPUTS),
        "outputs",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_are_those_of_the_operators(kind, mixing, dtype):
    own, traced = (cpu if kind == "cpu" else load_triton()), OPERATORS[kind]
    ranks = torch.randint(1, RANK + 1, (EXPERTS,), generator=torch.Generator().manual_seed(2))
    x, a, b_t, indices, weights, onto, combine = mixing
    inputs = *(each.to(dtype) for each in (x, a, b_t)), indices, weights, onto.to(dtype), combine, ranks
    assert traced.mix_rows(*inputs).dtype == dtype
    assert torch.equal(traced.mix_rows(*inputs), own.mix_rows(*inputs))
    for name, inputs in {
        "choose_best": [draw(TOKENS, EXPERTS)],
        "choose_along": [draw(TOKENS, INPUTS), draw(EXPERTS, INPUTS)],
    }.items():
        for abstain in (None, 0.5):
            found, expected = (getattr(each, name)(*inputs, TOP_K, 0.7, abstain) for each in (traced, own))
            assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("extra", [{}, {"onto": None}, {"ranks": torch.tensor([1, 2, 3, 1, 2, 3, 1])}])
def test_mixing_is_an_operator_as_pytorch_wants_it(kind, mixing, extra):
    *inputs, onto, combine = mixing
    arguments = (*inputs, extra.get("onto", onto), combine, extra.get("ranks"), kind == "triton")
    torch.library.opcheck(_mix_rows, arguments)


def test_choosing_is_an_operator_as_pytorch_wants_it(kind):
    torch.library.opcheck(_choose_best, (draw(TOKENS, EXPERTS), TOP_K, 0.7, None, kind == "triton"))
    torch.library.opcheck(
        _choose_along, (draw(TOKENS, INPUTS), draw(EXPERTS, INPUTS), TOP_K, 0.7, 0.5, kind == "triton")
    )
