"""Answering the requests of an evaluation under a route, with what is stored already."""

from collections.abc import Callable, Sequence
from typing import Any

from lorary.assembly import RoutedModel
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts
from lorary.evaluation.routes import Route
from lorary.evaluation.scoring import Scored, generate_answers, score_targets
from lorary.passes import find_layout

ROW_LENGTH = 512


def _say_nothing(number: int) -> None:
    """Tell nobody."""


class Responder:
    """Answers requests about a model.

    Args:
        model: the model; it is not changed.
        config: sizes of passes and batches.
    """

    def __init__(self, model: RoutedModel, config: EvalConfig):
        self.model = model
        self.on_items: Callable[[int], None] = _say_nothing
        """Called after each batch with its number of items; equal items run once and count once."""
        self._config = config

    def _keep(self, places: Sequence[int], responses: Sequence[Any]) -> None:
        self.on_items(len(places))

    def score(self, route: Route, items: Sequence[Item]) -> list[Scored]:
        """Score given answers under a route; equal items run once."""
        different = list(dict.fromkeys(items))
        longest = max((len(item.tokens) for item in different), default=1)
        layout = find_layout(self.model.stack, longest, ROW_LENGTH)
        with self.model.stack.in_use():
            experts = self._prepare(route, different)
            found = score_targets(
                experts,
                different,
                layout,
                tokens_per_pass=self._config.tokens_per_pass,
                row_length=ROW_LENGTH,
                report=_say_nothing,
                keep=self._keep,
            )
        scores = dict(zip(different, found, strict=True))
        return [scores[item] for item in items]

    def answer(self, route: Route, items: Sequence[Item]) -> list[str]:
        """Generate answers under a route; equal items run once."""
        different = list(dict.fromkeys(items))
        with self.model.stack.in_use():
            experts = self._prepare(route, different)
            found = generate_answers(
                self.model,
                experts,
                different,
                batch_size=self._config.batch_size,
                report=_say_nothing,
                keep=self._keep,
            )
        answers = dict(zip(different, found, strict=True))
        return [answers[item] for item in items]

    def _prepare(self, route: Route, items: Sequence[Item]) -> RouteExperts:
        questions = [item.request for item in items]
        longest = max(map(len, questions), default=1)
        layout = find_layout(self.model.stack, longest, ROW_LENGTH)
        sizes = {"tokens_per_pass": self._config.tokens_per_pass, "row_length": ROW_LENGTH}
        return route.prepare(self.model, questions, layout, **sizes)
