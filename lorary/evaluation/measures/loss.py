"""The loss, which training minimises."""

from collections.abc import Mapping, Sequence

from lorary.data import Example
from lorary.evaluation.measures.contract import Metric, Request, Response, Score


class Loss:
    """The mean negative log-likelihood of the first target's tokens, including its ending token."""

    metrics = (
        Metric(
            name="loss",
            title="loss, nats per target token",
            description="mean negative log-likelihood of the target's tokens",
            lower_is_better=True,
        ),
    )

    def requests(self, example: Example) -> Sequence[Request]:
        """Request the likelihood of the first target."""
        return (Score((example.targets[0],), ends=True),)

    def grade(self, example: Example, responses: Sequence[Response]) -> Mapping[str, float]:
        """Average the loss over tokens."""
        (scored,) = responses
        assert isinstance(scored, tuple)
        (target,) = scored
        return {"loss": -target.log_likelihood / target.num_tokens}
