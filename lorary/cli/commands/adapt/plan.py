"""Describe an adaptation before any long work."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from jsonargparse import Namespace

from lorary.adaptation import AdaptConfig
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval.table import choose_retrieval
from lorary.adaptation.retrieving import plan_tokens
from lorary.cli.commands.adapt.prepare import AdaptJob
from lorary.files import say_count


def describe_plan(options: Namespace, job: AdaptJob, folder: Path) -> Iterator[tuple[str, str]]:
    """Describe the plan, as pairs of label and text."""
    library, base, examples, configs = job.library, job.base, job.examples, job.configs
    yield "library", f"{options.library}, {say_count(len(library), 'expert')}"
    yield "base", f"{base.name}, {str(base.model.dtype).removeprefix('torch.')} on {base.model.device}"
    num_train = sum(len(found.train) for found in examples.values())
    num_held = sum(len(found.validation) for found in examples.values())
    shown = ", ".join(examples)
    yield (
        "tasks",
        (
            f"{len(examples)}: {shown}; {say_count(num_train, 'example')} for "
            f"training, {num_held} for validation"
        ),
    )
    names = list(configs)
    by = options.by or choose_retrieval(base.is_encoder_decoder, {})
    kept = ""
    if options.retrieve is not None:
        kept = f", with {say_count(options.retrieve, 'expert')} chosen by {by}"
    elif any(METHODS[name].needs_scores for name in names):
        kept = f", with all experts scored by {by}"
    what = (
        f"{names[0]}: {METHODS[names[0]].summary}" if len(names) == 1 else f"{len(names)}: {', '.join(names)}"
    )
    yield "methods", what + kept
    train = next(iter(configs.values())).train
    budget = sum(plan_tokens(name, found, train) for name, found in examples.items())
    seeds = job.seeds
    yield (
        "budget",
        f"at most {say_count(budget, 'token')} for all tasks, for each method"
        + (f" and each of {len(seeds)} seeds" if len(seeds) > 1 else "")
        + _describe_protocol(configs),
    )
    yield "store", _describe_store(job.store, options)
    yield "state", f"{'resumed from' if folder.exists() and not options.fresh else 'saved in'} {folder}"


def _describe_protocol(configs: Mapping[str, AdaptConfig]) -> str:
    protocol = next(iter(configs.values())).protocol
    names = [name for name in configs if "protocol" in METHODS[name].settings]
    return "" if protocol == "given" else f"; of {', '.join(names)} as protocol {protocol!r} has it"


def _describe_store(store: str, options: Namespace) -> str:
    what = {
        "none": "nothing; add --store best, or a method",
        "best": "the experts with the lowest validation loss",
        "all": "the experts of all methods",
    }.get(store, f"the experts of method {store}")
    return what if store == "none" else f"{what}, in library {options.out or options.library}"
