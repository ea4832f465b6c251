"""A fixed sample of the tokens of generic requests, and estimates of averages over requests.

A request's last token is always in the sample, since it counts more than the others. Of the tokens between
the first and the last a few are drawn, or all if there are not more. The first token is left out: its input
is nearly the same in every request, and far larger than the others.

P requests, S sampled tokens, E experts.
"""

import random
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

SEED = 0
# An estimate of noise may exceed the variance from which it is subtracted; a quarter of it is kept then.
LEAST_LEFT = 0.25


class TokenSample:
    """The places of sampled tokens, and their weights.

    Args:
        lengths: number of tokens of each request, at least 2.
        most: maximum number of tokens drawn from between a request's first and last; None for all.
    """

    def __init__(self, lengths: Sequence[int], most: int | None):
        chance = random.Random(SEED)
        drawn = [
            sorted(chance.sample(range(1, length - 1), length - 2 if most is None else min(most, length - 2)))
            for length in lengths
        ]
        self.places = [[*own, length - 1] for own, length in zip(drawn, lengths, strict=True)]
        """The positions of each request's sampled tokens, in ascending order."""
        self._between = torch.tensor(lengths) - 2  # [P]
        self._counts = torch.tensor([len(own) for own in drawn])  # [P]
        owner = torch.arange(len(lengths)).repeat_interleave(self._counts + 1)
        self._last = (self._counts + 1).cumsum(0) - 1  # [P]
        self._drawn = torch.zeros(len(lengths), len(owner), dtype=torch.float64)  # [P, S]
        self._drawn[owner, torch.arange(len(owner))] = 1.0
        self._drawn[:, self._last] = 0.0
        self._drawn /= self._counts.clamp_min(1)[:, None]
        self._prepared: dict[float, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return self._drawn.shape[1]

    @cached_property
    def token_weights(self) -> Tensor:
        """Weights ``[S]`` that sum to 1, for means over all tokens of all requests but their first."""
        tokens = (self._between + 1).double()
        return (tokens @ self._weigh_requests(0.0) / tokens.sum()).float()

    def summarise(self, values: Tensor, last_share: float) -> tuple[Tensor, Tensor]:
        """Estimate mean and standard deviation, over requests, of a request's average.

        A request's average is ``(1 - last_share) · mean of all tokens but the first + last_share · last
        token``. Averages of a few tokens vary more than those of all, so the variance that is due to the
        drawing of tokens is subtracted. If every token is in the sample, that is 0.

        Args:
            values: of each sampled token, ``[E, S]``, float32.
            last_share: weight of a request's last token.

        Returns:
            Means ``[E]`` and standard deviations ``[E]``.
        """
        weights, drawn, factors = (part.to(values) for part in self._prepare(last_share))
        averages = values @ weights.T  # [E, P]
        found = averages.var(1, correction=0)
        variances = (values**2) @ drawn.T - (values @ drawn.T) ** 2  # [E, P]
        noise = (variances @ factors) / len(factors) * (1 - 1 / len(factors))
        return averages.mean(1), torch.maximum(found - noise, LEAST_LEFT * found).sqrt()

    def _prepare(self, last_share: float) -> tuple[Tensor, ...]:
        """Return the weights of tokens in requests' averages, and in the mean of the drawn ones, ``[P, S]``.

        The third tensor, ``[P]``, multiplies the variance over a request's drawn tokens: the result is the
        variance of its average that is due to the drawing, if tokens are not put back.
        """
        if last_share not in self._prepared:
            between, counts = self._between.double(), self._counts.double()
            is_partial = (counts > 1) & (counts < between)
            share = (1 - last_share) * between / (between + 1)
            factors = share**2 * (1 - counts / between.clamp_min(1)) / (counts - 1).clamp_min(1) * is_partial
            found = self._weigh_requests(last_share), self._drawn, factors
            self._prepared[last_share] = tuple(part.float() for part in found)
        return self._prepared[last_share]

    def _weigh_requests(self, last_share: float) -> Tensor:
        """Return the weight of each token in the averages of requests, ``[P, S]``, float64."""
        tokens = (self._between + 1).double()
        weights = self._drawn * ((1 - last_share) * self._between / tokens)[:, None]
        weights[torch.arange(len(weights)), self._last] = (1 - last_share) / tokens + last_share
        return weights
