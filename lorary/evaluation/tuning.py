"""Tuning the calibrated router on a user's examples: chosen on half of them, checked on the others.

N examples, E experts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from lorary.assembly import RoutedModel
from lorary.assembly.deciding import RequestDecider
from lorary.data import Task, Template
from lorary.errors import DataError
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts
from lorary.evaluation.scoring import score_targets
from lorary.facts.reading import read_averages
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.files import say_count
from lorary.passes import find_layout
from lorary.routing import CalibratedConfig
from lorary.routing.calibrated_router import CalibratedRouter

# Tried one option after the other, each with the best values of the earlier options.
TRIED: Mapping[str, Sequence[Any]] = {
    "fallback": ("general", "all", "base"),
    "margin": (None, 0.3, 0.6, 1.0),
    "dead_zone": (0.0, 0.35),
    "most": (1.0, 0.85, 0.7),
    "temperature": (0.08, 0.15, 0.3),
}
FEWEST = 6
ROW_LENGTH = 512


@dataclass(frozen=True)
class Tuning:
    """The outcome of a tuning. Losses are means over the examples that were held out."""

    options: Mapping[str, Any]
    """The chosen options that differ from the start; empty if the start's are best."""
    num_chosen_on: int
    """Number of examples that the options were chosen on."""
    num_held_out: int
    """Number of examples that were held out."""
    loss_before: float
    """Loss with the options of the start."""
    loss: float
    """Loss with the chosen options."""
    error: float
    """Standard error of their difference, which is over the same examples."""

    @property
    def is_better(self) -> bool:
        """Whether the chosen options are better on held-out examples, by more than one standard error."""
        return self.loss_before - self.loss > self.error


def tune_calibrated(
    model: RoutedModel,
    tasks: Mapping[str, Task],
    template: Template,
    config: EvalConfig,
    start: CalibratedConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tuning:
    """Tune the options in ``TRIED`` on examples of some tasks; the model is not changed.

    Every second example, counted over all tasks, is held out. The base model reads each prompt once for its
    scores; then each candidate costs one pass over the examples.

    Args:
        model: the model.
        tasks: name -> task.
        template: turns examples into prompts.
        config: has the split, the number of examples of each task, and their maximum length.
        start: the options that are compared with, and those that are not tuned.
        on_progress: called with the number of candidates done, and of all at most.

    Raises:
        DataError: if a task has no example that fits, or there are too few examples.
        ValueError: if the base model has an encoder.
    """
    if model.base.is_encoder_decoder:
        raise ValueError("the router is tuned for causal language models; this one has an encoder")
    trial = _Trial(model, _read_items(model, tasks, template, config), start, config)
    total = 1 + sum(len(values) - 1 for values in TRIED.values())
    best, done = start, 1
    before = losses = trial.measure(start)
    for name, values in TRIED.items():
        for value in (each for each in values if each != getattr(start, name)):
            candidate = replace(best, **{name: value})
            found = trial.measure(candidate)
            if mean(found[::2]) < mean(losses[::2]):
                best, losses = candidate, found
            done += 1
            if on_progress is not None:
                on_progress(done, total)
    pairs = [one - other for one, other in zip(losses[1::2], before[1::2], strict=True)]
    return Tuning(
        options={name: own for name in TRIED if (own := getattr(best, name)) != getattr(start, name)},
        num_chosen_on=len(losses[::2]),
        num_held_out=len(pairs),
        loss_before=mean(before[1::2]),
        loss=mean(losses[1::2]),
        error=stdev(pairs) / sqrt(len(pairs)),
    )


def _read_items(
    model: RoutedModel, tasks: Mapping[str, Task], template: Template, config: EvalConfig
) -> list[Item]:
    items = [
        Item(name, tokens)
        for name, task in tasks.items()
        for tokens in choose_examples(model.tokenizer, name, task, template, config).tokens.examples
    ]
    if len(items) < FEWEST:
        raise DataError(
            f"tuning needs at least {say_count(FEWEST, 'example')}, half of which are held out, found "
            f"{len(items)} in split {config.split!r}: pass more tasks, or --evaluation.split"
        )
    return items


class _Trial:
    """Measures the losses of examples under options of the router; equal tables of weights run once."""

    def __init__(
        self, model: RoutedModel, items: Sequence[Item], start: CalibratedConfig, config: EvalConfig
    ):
        self._model, self._items, self._config = model, items, config
        self._layout = find_layout(model.stack, config.max_length, ROW_LENGTH)
        self._known: dict[Any, list[float]] = {}
        with model.stack.in_use():
            self._scores = self._score(self._build(start)[1])

    def measure(self, options: CalibratedConfig) -> list[float]:
        """Return the mean loss of each example's target tokens."""
        model, config = self._model, self._config
        with model.stack.in_use():
            decider, router = self._build(options)
            indices, weights = router.choose_by(self._scores)
            table = tuple(zip(map(tuple, indices.tolist()), map(tuple, weights.tolist()), strict=True))
            if table not in self._known:
                known = {item.tokens.prompt_ids: own for item, own in zip(self._items, table, strict=True)}
                scored = score_targets(
                    RouteExperts(stack=model.stack, by_prompt=known, decider=decider),
                    self._items,
                    self._layout,
                    tokens_per_pass=config.tokens_per_pass,
                    row_length=ROW_LENGTH,
                    report=lambda count: None,
                )
                self._known[table] = [
                    each.loss / len(item.tokens.target_ids)
                    for each, item in zip(scored, self._items, strict=True)
                ]
        return self._known[table]

    def _build(self, options: CalibratedConfig) -> tuple[RequestDecider, CalibratedRouter]:
        decider = self._model.router("calibrated", **vars(options)).decider
        assert decider is not None and isinstance(decider.router, CalibratedRouter)
        return decider, decider.router

    @torch.inference_mode()
    def _score(self, router: CalibratedRouter) -> Tensor:
        """Return the experts' scores of each prompt, ``[N, E]``."""
        prompts = [item.tokens.prompt_ids for item in self._items]
        scores = torch.zeros(len(prompts), len(self._model.names))
        for members in cut_passes([len(ids) for ids in prompts], self._config.tokens_per_pass):
            requests = pad_prompts([prompts[index] for index in members], self._model.model.device)
            scores[members] = router.score(read_averages(self._model.stack, router, requests)).cpu()
        return scores
