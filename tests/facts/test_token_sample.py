import pytest
import torch

from lorary.facts.token_sample import TokenSample

LENGTHS = [40, 2, 3, 25, 10, 60]


def draw_values(lengths, seed=0, experts=3):
    """Values of all tokens but the first of each request, ``[E, N]``, by request."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(experts, length - 1, generator=generator) + torch.randn(experts, 1, generator=generator)
        for length in lengths
    ]


def average(values, last_share):
    return torch.stack([(1 - last_share) * own.mean(1) + last_share * own[:, -1] for own in values], dim=1)


def take(sample, values):
    return torch.cat(
        [own[:, [p - 1 for p in places]] for own, places in zip(values, sample.places, strict=True)], 1
    )


def test_every_request_has_its_last_token_and_never_its_first():
    sample = TokenSample(LENGTHS, 8)
    assert sample.places == TokenSample(LENGTHS, 8).places
    assert [len(own) for own in sample.places] == [9, 1, 2, 9, 9, 9] and len(sample) == 39
    for length, own in zip(LENGTHS, sample.places, strict=True):
        assert own == sorted(set(own)) and own[0] > 0 and own[-1] == length - 1


@pytest.mark.parametrize("last_share", [0.0, 0.25, 1.0])
def test_with_all_tokens_mean_and_deviation_are_exact(last_share):
    sample = TokenSample(LENGTHS, None)
    values = draw_values(LENGTHS)
    expected = average(values, last_share)
    means, deviations = sample.summarise(torch.cat(values, 1), last_share)
    torch.testing.assert_close(means, expected.mean(1))
    torch.testing.assert_close(deviations, expected.std(1, correction=0))
    torch.testing.assert_close(sample.token_weights, torch.full((len(sample),), 1 / len(sample)))


def test_weights_of_a_few_tokens_stand_for_all():
    sample = TokenSample(LENGTHS, 8)
    total = torch.tensor([1.0] * 6) @ torch.stack(
        [part.sum().reshape(()) for part in sample.token_weights.split([9, 1, 2, 9, 9, 9])]
    )
    assert total == pytest.approx(1)
    shares = [float(part.sum()) for part in sample.token_weights.split([9, 1, 2, 9, 9, 9])]
    assert shares == pytest.approx([(length - 1) / (sum(LENGTHS) - 6) for length in LENGTHS])


def test_means_and_deviations_of_a_few_tokens_are_those_of_all_on_average():
    """Without the correction the deviations would be a quarter too large."""
    lengths = [30 + index % 40 for index in range(1500)]
    values = draw_values(lengths)
    sample = TokenSample(lengths, 4)
    means, deviations = sample.summarise(take(sample, values), 0.25)
    expected = average(values, 0.25)
    torch.testing.assert_close(means, expected.mean(1), atol=0.03, rtol=0)
    torch.testing.assert_close(deviations, expected.std(1, correction=0), atol=0, rtol=0.02)


def test_values_that_differ_within_requests_only_keep_a_quarter_of_their_variance():
    generator = torch.Generator().manual_seed(0)
    sample = TokenSample([500] * 4, 4)
    values = torch.randn(50, len(sample), generator=generator)
    values[:, sample._last] = 0
    _, deviations = sample.summarise(values, 0.0)
    whole = torch.stack([part[:, :-1].mean(1) * 498 / 499 for part in values.split(5, dim=1)], 1)
    found = deviations / whole.std(1, correction=0)
    assert float(found.min()) == pytest.approx(0.5, abs=1e-4) and (found < 1).all()
