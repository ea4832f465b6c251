"""The responses of each route to each item, in a file with one line of JSON each."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorary.evaluation.items import Item, Prompt
from lorary.evaluation.route_experts import KnownExperts
from lorary.files import write_whole


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The response of a route to one item, and the values of its metrics."""

    task: str
    """The task's name in the result."""
    part: str | None = None
    """The task within a group; None if it is not a group."""
    id: str
    """The item's id in the result."""
    route: str
    """The route."""
    prompts: Sequence[str]
    """The text before each answer; only the item's own part of it for tasks of files."""
    targets: Sequence[str]
    """The right answers."""
    responses: Sequence[Any]
    """Generated texts, or the log-likelihood of each given answer and, if known, whether greedy decoding
    produces it."""
    values: Mapping[str, float]
    """Metric -> value."""


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions, completely or not at all."""
    lines = (json.dumps(asdict(prediction), ensure_ascii=True) for prediction in predictions)
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def share_experts(
    items: Iterable[Item], chosen: Mapping[Prompt, KnownExperts], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Average the weights of the experts that a router chose once per request: task -> expert -> mean weight.

    Args:
        items: items of a route; each question counts once.
        chosen: question -> its experts.
        names: of the experts, by place.
    """
    questions: dict[str, dict[Prompt, None]] = defaultdict(dict)
    for item in items:
        questions[item.task][item.request] = None
    shares: dict[str, dict[str, float]] = {}
    for task, prompts in questions.items():
        own: dict[str, float] = defaultdict(float)
        for prompt in prompts:
            places, weights = chosen[prompt]
            # A choice for groups of layers has the weights of all experts for each group.
            groups = [each for each in weights if isinstance(each, tuple)]
            alike = tuple(each for each in weights if isinstance(each, float))
            for group in groups or [alike]:
                for place, weight in zip(places, group, strict=True):
                    own[names[place]] += weight / max(len(groups), 1) / len(prompts)
        shares[task] = {
            name: share for name, share in sorted(own.items(), key=lambda pair: -pair[1]) if share
        }
    return shares
