"""Answering the requests of an evaluation with a route; stored answers are not computed again."""

from collections.abc import Callable, Sequence
from typing import Any

from lorary.assembly import RoutedModel
from lorary.assembly.router import Router
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.identity import Identity
from lorary.evaluation.items import Item, Prompt
from lorary.evaluation.response_store import Response, ResponseStore
from lorary.evaluation.route_experts import KnownExperts, RouteExperts, decide_prompts
from lorary.evaluation.routes import Route
from lorary.evaluation.scoring import Scored, generate_answers, score_targets
from lorary.passes import find_layout
from lorary.passes.layout import Layout

ROW_LENGTH = 512

Compute = Callable[[RouteExperts, Sequence[Item], Callable[[Sequence[int], Sequence[Any]], None]], object]
"""Answers items, and calls a function with the places and answers of each batch."""


def _tell_nobody(items: Sequence[Item]) -> None:
    """Ignore all answers."""


def _report_nothing(amount: int) -> None:
    """Ignore all progress."""


class Responder:
    """Answers requests about a model.

    Args:
        model: the model; it is not changed.
        config: sizes of passes and batches.
        store: earlier answers, to which new ones are added; None for no store.
    """

    def __init__(self, model: RoutedModel, config: EvalConfig, store: ResponseStore | None = None):
        self.model = model
        self.on_items: Callable[[Sequence[Item]], None] = _tell_nobody
        """Called with the items that were answered, after each batch; equal items run once and count once."""
        self.chosen: dict[str, dict[Prompt, KnownExperts]] = {}
        """Route -> prompt -> the experts that its router chose for it, of request routers."""
        self._config = config
        self._store = store
        self.identity = Identity(model)
        """The hashes by which answers are stored."""

    def score(self, route: Route, items: Sequence[Item]) -> list[Scored]:
        """Score given answers under a route; equal items run once."""

        def compute(experts: RouteExperts, missing: Sequence[Item], keep: Any) -> object:
            return score_targets(
                experts,
                missing,
                self._find_layout(max(len(item.tokens) for item in missing)),
                tokens_per_pass=self._config.tokens_per_pass,
                row_length=ROW_LENGTH,
                report=_report_nothing,
                keep=keep,
            )

        found = self._respond(route, items, compute)
        return [response for response in found if isinstance(response, Scored)]

    def answer(self, route: Route, items: Sequence[Item]) -> list[str]:
        """Generate answers under a route; equal items run once."""

        def compute(experts: RouteExperts, missing: Sequence[Item], keep: Any) -> object:
            size = self._config.batch_size
            return generate_answers(
                self.model, experts, missing, batch_size=size, report=_report_nothing, keep=keep
            )

        found = self._respond(route, items, compute)
        return [response for response in found if isinstance(response, str)]

    def _respond(self, route: Route, items: Sequence[Item], compute: Compute) -> list[Response]:
        different = list(dict.fromkeys(items))
        if not different:
            return []
        with self.model.stack.in_use():
            experts = self._prepare(route, different)
            names = [self._name(experts, item) for item in different]
            responses: dict[Item, Response] = {}
            for name, item in zip(names, different, strict=True):
                stored = None if self._store is None else self._store.find(name)
                if stored is not None:
                    responses[item] = stored
            missing = [
                (name, item) for name, item in zip(names, different, strict=True) if item not in responses
            ]
            self.on_items(list(responses))

            def keep(places: Sequence[int], found: Sequence[Response]) -> None:
                batch = {missing[place]: response for place, response in zip(places, found, strict=True)}
                responses.update({item: response for (_, item), response in batch.items()})
                if self._store is not None:
                    self._store.add({name: response for (name, _), response in batch.items() if name})
                self.on_items([item for _, item in batch])

            if missing:
                compute(experts, [item for _, item in missing], keep)
        return [responses[item] for item in items]

    def _name(self, experts: RouteExperts, item: Item) -> str | None:
        return None if self._store is None else self.identity.name_answer(experts, item)

    def _prepare(self, route: Route, items: Sequence[Item]) -> RouteExperts:
        """Find the experts of a route; a request router chooses once for each prompt."""
        router = route.build_router(self.model)
        if router is None or router.decider is None:
            return route.prepare_known(self.model, router)
        chosen = self.chosen.setdefault(route.name, {})
        missing = [prompt for prompt in dict.fromkeys(item.request for item in items) if prompt not in chosen]
        names = {prompt: self._name_choice(router, prompt) for prompt in missing}
        for prompt, name in names.items():
            stored = None if self._store is None else self._store.find(name)
            if isinstance(stored, tuple) and not isinstance(stored, Scored):
                chosen[prompt] = stored
        missing = [prompt for prompt in missing if prompt not in chosen]
        if missing:
            found = decide_prompts(
                self.model,
                router,
                missing,
                self._find_layout(max(map(len, missing))),
                tokens_per_pass=self._config.tokens_per_pass,
                row_length=ROW_LENGTH,
            )
            assert found.by_prompt is not None
            chosen.update(found.by_prompt)
            if self._store is not None:
                self._store.add({name: chosen[prompt] for prompt in missing if (name := names[prompt])})
        return RouteExperts(
            stack=self.model.stack, by_prompt=chosen, combine=router.combine, decider=router.decider
        )

    def _name_choice(self, router: Router, prompt: Prompt) -> str | None:
        return None if self._store is None else self.identity.name_choice(router, prompt)

    def _find_layout(self, longest: int) -> Layout:
        return find_layout(self.model.stack, longest, ROW_LENGTH)
