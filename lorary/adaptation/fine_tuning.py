"""Fine-tuning: each start is truncated to the new rank, kept in the run's folder, and trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lorary.adaptation.cards import list_parents
from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.folder import STARTS, AdaptFolder
from lorary.adaptation.methods.contract import Context, NewTask, Start, Trained
from lorary.adaptation.methods.table import METHODS
from lorary.experts import Expert, ExpertCard, hash_weights
from lorary.experts.on_top import add_general
from lorary.models import find_layers
from lorary.models.fit_paths import fit_paths
from lorary.training import train_experts
from lorary.training.loop.event import TrainEvent
from lorary.training.starts import fit_start, refuse_untrained


def fine_tune(context: Context, folder: AdaptFolder, tasks: Mapping[str, NewTask]) -> dict[str, Trained]:
    """Find the start of each task, and train all tasks in the same passes."""
    record = folder.find_record(STARTS)
    if record is None:
        starts_found = METHODS[context.config.method].find_starts(context, tasks)
        for name, start in starts_found.items():
            if start.expert is not None:
                _check_layers(context, list_parents(start.weights) or list(tasks[name].chosen))
        record = _keep_starts(context, folder, starts_found)
    starts = {
        name: folder.find_start(name, own["digest"])
        for name, own in record.items()
        if own["digest"] is not None
    }
    examples = {
        name: replace(task.examples, spent_tokens=task.examples.spent_tokens + record[name]["num_tokens"])
        for name, task in tasks.items()
    }

    def tell(event: TrainEvent[Expert]) -> None:
        context.on_progress(AdaptEvent.of_training(event))

    outcome = train_experts(
        context.base,
        examples,
        context.train,
        context.folder,
        starts=starts,
        on_top_of=context.on_top_of,
        on_progress=tell,
    )
    return {
        name: Trained(
            expert=outcome.experts[name],
            progress=outcome.progress[name],
            weights=record[name]["weights"],
            error=record[name]["error"],
            num_tokens=record[name]["num_tokens"],
        )
        for name in tasks
    }


def _check_layers(context: Context, names: Sequence[str]) -> None:
    """Refuse layers that are not trained; the error names the expert of the library that has them."""
    layers = find_layers(context.base.model, context.train.target_modules)
    used = {name: context.experts[name] for name in names if name in context.experts}
    for name, expert in fit_paths(context.base.model, used).items():
        refuse_untrained(expert.rename(name), layers)


def _keep_starts(
    context: Context, folder: AdaptFolder, found: Mapping[str, Start]
) -> dict[str, dict[str, Any]]:
    """Truncate the starts to the new rank, and write them; the record is written last."""
    record: dict[str, dict[str, Any]] = {}
    on_top_of = None if context.on_top_of is None else hash_weights(context.on_top_of)
    for name, start in found.items():
        digest, error = None, 0.0
        if start.expert is not None:
            whole = start.expert
            if context.trains_general:
                assert context.general is not None
                whole = add_general(whole, context.general)
            fitted = fit_paths(context.base.model, {name: whole})[name]
            factors, error = fit_start(fitted, context.train.rank)
            card = ExpertCard(
                base_revision=context.base.revision,
                base_fingerprint=context.base.fingerprint,
                fan_in_fan_out=start.expert.card.fan_in_fan_out,
                task_type=start.expert.card.task_type,
                on_top_of=on_top_of,
            )
            expert = Expert(start.expert.name, context.base.name, factors, card)
            digest = folder.keep_start(name, expert)
        weights = {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in start.weights.items()
        }
        record[name] = {
            "digest": digest,
            "error": error,
            "num_tokens": start.num_tokens,
            "weights": weights,
        }
    folder.keep_record(STARTS, record)
    return record
