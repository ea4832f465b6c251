import pytest
import torch

from lorary.facts.layer_calibration import calibrate_layer
from lorary.facts.token_sample import TokenSample
from lorary.routing.spectr import compute_norm_roots
from tests.facts.naive_calibration import calibrate_naively

LENGTHS = [12, 7, 30, 2]


@pytest.mark.parametrize(("width_in", "width_out", "rank"), [(10, 10, 3), (6, 20, 1), (20, 6, 4)])
def test_every_number_is_that_of_the_definition(width_in, width_out, rank):
    generator = torch.Generator().manual_seed(rank)
    sample = TokenSample(LENGTHS, None)
    x = torch.randn(len(sample), width_in, generator=generator) + 3 * torch.randn(
        width_in, generator=generator
    )
    a = torch.randn(3, rank, width_in, generator=generator)
    b = torch.randn(3, width_out, rank, generator=generator)
    b[1, :, 1:] = 0  # an expert of rank 1, padded
    center = x.mean(0)
    ridges = torch.tensor([0.02, 0.1, 0.02])
    found = calibrate_layer(a, compute_norm_roots(b), x - center, center, sample, ridges, 0.3)
    texts = list(x.split([length - 1 for length in LENGTHS]))
    for index in range(3):
        own, ridge = (rank, 0.02) if index != 1 else (1, 0.1)
        expected = calibrate_naively(texts, a[index, :own], b[index, :, :own], ridge=ridge, last_share=0.3)
        whitener = found.whiteners[index].double()
        torch.testing.assert_close((whitener @ whitener.T)[:own, :own], expected.metric, atol=1e-4, rtol=1e-4)
        offset = whitener @ found.offsets[index].double()
        torch.testing.assert_close(offset[:own], expected.metric @ expected.mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.means[index].double(), expected.level, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.deviations[index].double(), expected.deviation, atol=1e-4, rtol=1e-4)


def test_an_expert_that_adds_nothing_has_no_whitener():
    sample = TokenSample(LENGTHS, 4)
    x = torch.randn(len(sample), 5)
    center = x.mean(0)
    found = calibrate_layer(
        torch.randn(2, 3, 5),
        torch.zeros(2, 3, 3),
        x - center,
        center,
        sample,
        torch.tensor([0.01, 0.01]),
        0.25,
    )
    assert not found.whiteners.any() and not found.offsets.any() and not found.deviations.any()
    assert all(part.isfinite().all() for part in found)
