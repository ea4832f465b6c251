"""Read and check the tasks, the library and the base model of an adaptation, before any work."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jsonargparse import Namespace

from lorary.adaptation import AdaptConfig, hold_out
from lorary.adaptation.checks import (
    ACTION,
    check_choice,
    find_multi_task_faults,
    find_retrieve_faults,
    list_candidates,
)
from lorary.adaptation.chosen import whole_library
from lorary.adaptation.completing import complete_config
from lorary.adaptation.methods.table import METHODS
from lorary.cli.base_model import load_options_base
from lorary.cli.commands.adapt.configs import read_configs, read_methods, read_seeds, reseed
from lorary.cli.commands.adapt.storing import (
    choose_store,
    name_experts,
    require_free_names,
    require_same_adaptation,
)
from lorary.cli.default_router import are_for_encoder
from lorary.cli.faults import Faults
from lorary.cli.filled_library import open_routed_library, open_writable_library
from lorary.cli.left_out import tell_prompts
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.data import SplitConfig, Task, TokenizedExample, subsample, tokenize_examples
from lorary.errors import IncompatibleExpert
from lorary.files import quote
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.models import BaseModel
from lorary.models.check_base import is_for_base
from lorary.models.parts.changed import keep_low_rank_on
from lorary.training import TrainingExamples, prepare_examples

# A file without splits has training examples only.
FEW = SplitConfig(train=1.0, validation=0.0, test=0.0)
MOST_TEST = 100
"""Maximum number of measured test examples of each task."""


@dataclass(frozen=True, kw_only=True)
class AdaptJob:
    """A checked adaptation."""

    library: LibraryView
    """The experts that methods may use."""
    base: BaseModel
    """The base model."""
    configs: Mapping[str, AdaptConfig]
    """Method -> its configuration, with the first seed."""
    seeds: list[int]
    """The seeds."""
    examples: Mapping[str, TrainingExamples]
    """Task -> its few examples."""
    measured: Mapping[str, tuple[TokenizedExample, ...]]
    """Task -> the examples whose losses are measured: those of validation, then those of the test."""
    store: str
    """What is stored: a method, ``best``, ``all`` or ``none``."""
    names: Mapping[tuple[str, str], str]
    """Task and method -> name of the new expert; empty if nothing is stored."""
    target: Library | None
    """The library to store in; None if it does not exist yet."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the options of an adaptation say, checked as far as no base model is needed."""

    library: LibraryView
    """The experts that are used if none are named."""
    configs: Mapping[str, AdaptConfig]
    """Method -> its configuration, with the first seed."""
    seeds: list[int]
    """The seeds."""
    tasks: Mapping[str, Task]
    """Task -> its few examples."""
    store: str
    """What is stored, see ``AdaptJob``."""
    names: Mapping[tuple[str, str], str]
    """Task and method -> name of the new expert; empty if nothing is stored."""
    target: Library | None
    """The library to store in; None if it does not exist yet."""


def read_settings(options: Namespace) -> Settings:
    """Read and check all that needs no base model.

    Raises:
        ValueError, LoraryError: with everything that is wrong.
    """
    faults = Faults()
    library = faults.keep(lambda: open_routed_library(options))
    is_for_encoder = library is not None and bool(faults.keep(lambda: are_for_encoder(library)))
    configs = faults.keep(lambda: read_configs(options, is_for_encoder=is_for_encoder))
    tasks = faults.keep(lambda: read_few(options))
    if library is not None:
        if options.skills is None:
            faults.add(*find_retrieve_faults(options.retrieve, len(library)))
        faults.add(*find_multi_task_faults(options.multi_task, library.library))
    # Told by ``read_configs`` if they are wrong.
    methods = Faults().keep(lambda: read_methods(options, is_for_encoder=is_for_encoder))
    if methods is not None and options.against not in (None, *methods):
        faults.add(
            f"--against must be one of the methods of this run, {', '.join(methods)}, found "
            f"{quote(options.against, 60)}"
        )
    store, names = None, None
    if methods is not None:
        store = faults.keep(lambda: choose_store(options, methods))
    if methods is not None and store is not None and tasks is not None:
        names = faults.keep(lambda: name_experts(options, store, methods, list(tasks)))
    faults.raise_all()
    assert library is not None and configs is not None and tasks is not None
    assert store is not None and names is not None
    target = open_writable_library(options.out or options.library) if names else library.library
    if target is not None:
        require_free_names(target, names, options)
    return Settings(
        library=library,
        configs=configs,
        seeds=read_seeds(options),
        tasks=tasks,
        store=store,
        names=names,
        target=target,
    )


def read_few(options: Namespace) -> dict[str, Task]:
    """Read the tasks, and cut them to ``--shots``."""
    return {name: cut_task(task, options.shots) for name, task in read_tasks(options, FEW).items()}


def prepare_job(options: Namespace) -> AdaptJob:
    """Read and check all that an adaptation needs."""
    found = read_settings(options)
    library, configs, seeds, names, target = (
        found.library,
        found.configs,
        found.seeds,
        found.names,
        found.target,
    )
    base = load_options_base(options, library)
    if names and options.out is None and not options.trust_base:
        require_own_base(base, library)
    library = leave_out_others(base, library, configs)
    examples = read_examples(options, base, found.tasks, next(iter(configs.values())))
    for config in configs.values():
        check_method(base, library, examples, config)
    if target is not None and not options.replace:
        plans = {
            name: [reseed(complete_config(base, config), seed) for seed in seeds]
            for name, config in configs.items()
        }
        require_same_adaptation(target, names, plans, examples)
    return AdaptJob(
        library=library,
        base=base,
        configs=configs,
        seeds=seeds,
        examples=examples,
        measured={
            name: (*examples[name].validation, *tokenize_test(options, base, task))
            for name, task in found.tasks.items()
        },
        store=found.store,
        names=names,
        target=target,
    )


def read_examples(
    options: Namespace, base: BaseModel, tasks: Mapping[str, Task], config: AdaptConfig
) -> Mapping[str, TrainingExamples]:
    """Tokenise the examples of each task, and report what was left out."""
    examples = prepare_examples(
        base.tokenizer,
        dict(tasks),
        read_task_template(options),
        max_length=options.max_length,
        truncation=options.truncation,
        max_validation_examples=config.train.max_validation_examples,
        is_encoder_decoder=base.is_encoder_decoder,
    )
    tell_prompts([found.counts for found in examples.values()], "training and validation examples")
    return examples


def leave_out_others(
    base: BaseModel, library: LibraryView, configs: Mapping[str, AdaptConfig]
) -> LibraryView:
    """Leave out experts that no method uses, with one warning for all methods."""
    if not any(METHODS[name].uses_experts and config.skills is None for name, config in configs.items()):
        return library
    kept = keep_low_rank_on(base.model, library, list(library), ACTION)
    return LibraryView(library.library, kept, library.left_out)


def require_own_base(base: BaseModel, library: LibraryView) -> None:
    """Refuse a base model that no expert of the library is for.

    Raises:
        IncompatibleExpert: naming both base models, and what to do.
    """
    known = {entry.base_model for entry in library.library.entries()}
    if known and not any(is_for_base(base, library.library[entry.name]) for entry in library.entries()):
        raise IncompatibleExpert(
            f"library {quote(library.url)} has experts for {', '.join(map(quote, sorted(known)[:3]))}, but "
            f"--base is {quote(base.name)}: leave out --base, store the new experts elsewhere with --out, "
            "or add --trust-base if both are the same model"
        )


def check_method(
    base: BaseModel,
    library: LibraryView,
    examples: Mapping[str, TrainingExamples],
    config: AdaptConfig,
) -> None:
    """Refuse a method without the experts that it needs, before the plan is printed.

    Raises:
        ValueError, DataError: with all faults.
        IncompatibleExpert: if an expert changes layers that are not trained.
    """
    candidates = list_candidates(base, library, config, examples)
    check_choice(base, whole_library(library), candidates, examples, config)


def cut_task(task: Task, shots: int | None) -> Task:
    """Limit a task's training examples, and hold out some for validation.

    Raises:
        ValueError: if the limit is below 1.
    """
    if shots is not None and shots < 1:
        raise ValueError(f"--shots must be at least 1, found {shots}")
    train = task.splits.get("train", ())
    if shots is not None:
        train = subsample(train, shots)
    return hold_out(replace(task, splits={**task.splits, "train": train}))


def tokenize_test(options: Namespace, base: BaseModel, task: Task) -> tuple[TokenizedExample, ...]:
    """Return the test examples of a task, at most ``MOST_TEST``, chosen by content."""
    test = subsample(task.splits.get("test", ()), MOST_TEST)
    return tokenize_examples(
        base.tokenizer,
        read_task_template(options),
        task,
        test,
        max_length=options.max_length,
        truncation=options.truncation,
        is_encoder_decoder=base.is_encoder_decoder,
    ).examples
