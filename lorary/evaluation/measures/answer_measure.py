"""A measure that compares the generated answer with the targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lorary.data import Example
from lorary.evaluation.measures.contract import Generate, Metric, Request, Response


@dataclass(frozen=True, kw_only=True)
class AnswerMeasure:
    """Requests one answer, and compares it with the targets."""

    metric: Metric
    """The metric that it gives."""
    compare: Callable[[str, Sequence[str]], float]
    """Function of an answer and the targets."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The one metric."""
        return (self.metric,)

    def requests(self, example: Example) -> Sequence[Request]:
        """Request an answer."""
        return (Generate(),)

    def grade(self, example: Example, responses: Sequence[Response]) -> Mapping[str, float]:
        """Compare the answer with every target."""
        (answer,) = responses
        assert isinstance(answer, str)
        return {self.metric.name: self.compare(answer, example.targets)}
