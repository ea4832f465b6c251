"""Perplexity, per token and as bits per byte, of an example's target."""

import math
from collections.abc import Mapping, Sequence

from lorary.data import Example
from lorary.evaluation.measures.contract import Metric, Request, Response, Score

# Largest mean loss whose exponential is finite; results have only finite numbers.
GREATEST_LOSS = 700.0


class Perplexity:
    """Perplexity and bits per byte of the first target, without its ending token.

    Bits per byte do not depend on the tokenizer. The mean over examples gives all examples the same weight;
    the perplexity of a corpus would be ``exp`` of the mean loss over its tokens.
    """

    metrics = (
        Metric(
            name="perplexity",
            title="perplexity of the target's tokens",
            description="exp of the mean negative log-likelihood of the target's tokens",
            lower_is_better=True,
        ),
        Metric(
            name="target_bits_per_byte",
            title="bits per byte of the target",
            description="negative log-likelihood of the target in bits, per UTF-8 byte",
            lower_is_better=True,
        ),
    )

    def requests(self, example: Example) -> Sequence[Request]:
        """Request the likelihood of the first target; nothing for an empty one."""
        return (Score((example.targets[0],)),) if example.targets[0] else ()

    def grade(self, example: Example, responses: Sequence[Response]) -> Mapping[str, float]:
        """Compute both from the likelihood."""
        (scored,) = responses
        assert isinstance(scored, tuple)
        (target,) = scored
        mean = -target.log_likelihood / max(1, target.num_tokens)
        bits = -target.log_likelihood / math.log(2) / len(example.targets[0].encode("utf-8", "surrogatepass"))
        return {"perplexity": math.exp(min(mean, GREATEST_LOSS)), "target_bits_per_byte": bits}
