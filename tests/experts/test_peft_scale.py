import math

import pytest
import torch

from lorary.experts.peft_scale import fold_scale

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.125, 2.0, -4.0, 3.0, 8 / math.sqrt(6), 0.0])
def test_no_number_is_rounded_to_a_narrow_dtype(dtype, scale):
    b = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    torch.testing.assert_close(fold_scale(b, scale).double(), b.double() * scale, rtol=1.2e-7, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_keep_the_dtype_and_other_scales_give_float32(dtype):
    b = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert fold_scale(b, 0.25).dtype == dtype
    assert torch.equal(fold_scale(b, 0.25) * 4, b)
    assert fold_scale(b, 3.0).dtype == torch.float32
    assert fold_scale(b.double(), 3.0).dtype == torch.float64


def test_scale_one_leaves_the_mapped_file_untouched():
    b = torch.ones(2, 2)
    assert fold_scale(b, 1.0) is b


@pytest.mark.parametrize(("number", "scale"), [(60_000.0, 4.0), (2.0**-24, 0.5), (2.0**-14 + 2.0**-24, 0.25)])
def test_float16_that_would_overflow_or_lose_bits_becomes_float32(number, scale):
    b = torch.tensor([[number]], dtype=torch.float16)
    scaled = fold_scale(b, scale)
    assert scaled.dtype == torch.float32
    assert scaled.item() == b.item() * scale
