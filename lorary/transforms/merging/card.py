"""The card of a merged expert: parents, recipe, weights and truncation errors."""

from collections.abc import Mapping
from typing import Any

from lorary.experts import ExpertCard
from lorary.experts.roles import MERGE
from lorary.files import say_count
from lorary.transforms.merging.job import MergeJob
from lorary.transforms.merging.recipe.recipe_file import describe_recipe


def describe_merge(job: MergeJob, errors: Mapping[str, float]) -> ExpertCard:
    """Make the card of a merged expert.

    Args:
        job: the merge.
        errors: module path -> relative truncation error, a share of the Frobenius norm.
    """
    cards, names = job.survey.cards, job.survey.names
    first = cards[0]
    weights = {settings.weights for settings in job.settings.values()}
    provenance: dict[str, Any] = {
        "algorithm": "merge",
        "recipe": {**describe_recipe(job.recipe), "defaults": "lorary"},
    }
    if len(weights) == 1:
        inputs = [model.model for model in job.placing.models]
        provenance["weights"] = dict(zip(inputs, weights.pop(), strict=True))
    if job.ignored:
        provenance["ignored"] = list(job.ignored)
    after = "" if job.recipe.pico is None else " after pico"
    # Six digits are enough and keep the card short.
    provenance["truncation_error"] = {path: float(f"{error:.6g}") for path, error in errors.items()}
    return ExpertCard(
        tasks=tuple(dict.fromkeys(task for card in cards for task in card.tasks)),
        tags=("merged",),
        role=MERGE,
        # What they build on is counted once: the merge builds on it too.
        on_top_of=first.on_top_of,
        description=f"{say_count(len(names), 'expert')} merged by {job.recipe.merge_method}{after}",
        parents=names,
        provenance=provenance,
        base_revision=next((card.base_revision for card in cards if card.base_revision), None),
        base_fingerprint=first.base_fingerprint,
        fan_in_fan_out=first.fan_in_fan_out,
        task_type=first.task_type,
    )
