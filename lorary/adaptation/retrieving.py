"""The tasks of an adaptation with the experts that are used for each, and its budget."""

from collections.abc import Mapping
from dataclasses import replace

from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.folder import RETRIEVED, AdaptFolder
from lorary.adaptation.methods.contract import Context, NewTask
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval import RetrievalContext, retrieve
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.loop.trainee import plan_unit


def plan_tokens(name: str, examples: TrainingExamples, train: TrainConfig) -> int:
    """Return the budget of a task: the tokens of the plan of a new expert's training."""
    lengths = [len(example) for example in examples.train]
    plan = plan_unit(name, replace(examples, spent_tokens=0), train.loop)
    return sum(lengths[index] for batch in plan for index in batch)


def retrieve_all(
    context: Context,
    folder: AdaptFolder,
    candidates: list[str],
    examples: Mapping[str, TrainingExamples],
    own_examples: Mapping[str, TrainingExamples],
) -> dict[str, NewTask]:
    """Choose the experts for each task; earlier results of retrieval are read from the folder."""
    config, method = context.config, METHODS[context.config.method]
    is_retrieved = method.uses_experts and (config.retrieve is not None or method.needs_scores)
    record = folder.find_record(RETRIEVED) or {}
    for place, (name, found) in enumerate(examples.items()):
        if name in record:
            continue
        scores: list[tuple[str, float | None]] = [(own, None) for own in candidates]
        num_tokens = 0
        if is_retrieved:
            context.on_progress(
                AdaptEvent(stage="retrieving experts", num_done=place, num_steps=len(examples))
            )
            retrieved = retrieve(
                RetrievalContext(
                    base=context.base,
                    experts=context.experts,
                    task=name,
                    examples=found,
                    num_read=config.num_read,
                    own_examples=own_examples,
                    router_options=context.router_options,
                    trust_base=context.trust_base,
                ),
                candidates,
                config.retrieve,
                config.by,
                config.train.seed,
            )
            scores, num_tokens = list(retrieved.scores), retrieved.num_tokens
        record[name] = {"scores": [list(pair) for pair in scores], "num_tokens": num_tokens}
        folder.keep_record(RETRIEVED, record)
    return {
        name: NewTask(
            name=name,
            examples=replace(found, spent_tokens=record[name]["num_tokens"]),
            chosen=dict(record[name]["scores"]),
            budget=plan_tokens(name, found, context.train),
        )
        for name, found in examples.items()
    }
