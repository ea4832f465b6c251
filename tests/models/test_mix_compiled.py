"""What compiled back ends of `mix` leave out: numbers beyond a rank, and experts without weight."""

import pytest
import torch

from lorary.models import COMBINES, mix
from lorary.models.mix_backends import COMPILED

EVERY_COMPILED = [name for name, is_there in COMPILED.items() if is_there(torch.zeros(1))]
EVERY_COMPILED += ["triton, sorted"] if "triton" in EVERY_COMPILED else []
SLOW_TOKENS = 40  # too many for pairs one by one in Triton's interpreter


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("backend", "tokens"),
    [
        (name, tokens)
        for name in EVERY_COMPILED
        for tokens in (1, 7, SLOW_TOKENS)
        if name != "triton" or tokens < SLOW_TOKENS
    ],
    indirect=["backend"],
)
def test_compiled_operators_never_read_beyond_a_rank(backend, tokens, dtype, combine):
    generator = torch.Generator().manual_seed(0)
    ranks = torch.tensor([1, 5, 0, 20, 3])
    x = torch.randn(tokens, 70, generator=generator).to(dtype)
    a = torch.randn(5, 20, 70, generator=generator).to(dtype)
    b = torch.randn(5, 20, 45, generator=generator).to(dtype).transpose(1, 2)
    indices = torch.randint(5, (tokens, 3), generator=generator)
    weights = torch.randn(tokens, 3, generator=generator)
    unused = torch.arange(20) >= ranks[:, None]
    clean_a, clean_b = a.masked_fill(unused[:, :, None], 0), b.masked_fill(unused[:, None], 0)
    expected = mix(x, clean_a, clean_b, indices, weights, combine, backend)
    a, b = a.masked_fill(unused[:, :, None], torch.nan), b.masked_fill(unused[:, None], torch.nan)
    found = mix(x, a, b, indices, weights, combine, backend, ranks=ranks)
    # Triton's sums may be made in another order.
    size = expected.abs().max() if backend == "triton" else 1.0
    torch.testing.assert_close(found / size, expected / size)


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("backend", EVERY_COMPILED, indirect=True)
def test_compiled_operators_leave_out_an_expert_without_weight_even_if_it_has_no_numbers(backend, combine):
    generator = torch.Generator().manual_seed(0)
    x, a = torch.randn(6, 20, generator=generator), torch.randn(3, 2, 20, generator=generator)
    b = torch.randn(3, 30, 2, generator=generator)
    a[1], b[2] = torch.nan, torch.inf
    indices = torch.tensor([[0, 1, 2]]).expand(6, 3)
    weights = torch.tensor([[0.5, 0.0, 0.0]]).expand(6, 3)
    found = mix(x, a, b, indices, weights, combine, backend)
    torch.testing.assert_close(found, mix(x, a, b, indices[:, :1], weights[:, :1], combine, backend))
