"""Read tasks and library, measure the missing cells, and print, write and draw the matrix."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from jsonargparse import Namespace

from lorary.adaptation import TransferMatrix, transfer
from lorary.adaptation.transfer_matrix.matrix import Cell
from lorary.adaptation.transfer_matrix.starts import ACTION, check_kinds
from lorary.cli.base_model import load_options_base
from lorary.cli.commands.transfer.report import print_matrix, summarize_matrix, write_matrix
from lorary.cli.comparison.routes import split_commas
from lorary.cli.console import print_next
from lorary.cli.faults import Faults
from lorary.cli.filled_library import open_routed_library
from lorary.cli.left_out import tell_prompts
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_base, repeat_tasks
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.cli.training_bar import show_training
from lorary.cli.trusted_base import choose_experts
from lorary.data import Task
from lorary.errors import UnknownExpert
from lorary.files import quote, say_count
from lorary.library.view import LibraryView
from lorary.models import BaseModel
from lorary.models.parts.changed import keep_low_rank_on
from lorary.training import TrainConfig, TrainingExamples, prepare_examples
from lorary.training.loop.event import TrainEvent


def run(options: Namespace) -> int:
    """Check the options, measure, and report."""
    config, tasks, library, asked = read_settings(options)
    base = load_options_base(options, library)
    names = keep_low_rank_on(base.model, library, list(library), ACTION) if asked is None else asked
    examples = prepare_examples(
        base.tokenizer,
        tasks,
        read_task_template(options),
        max_length=options.max_length,
        truncation=options.truncation,
        max_validation_examples=config.max_validation_examples,
        is_encoder_decoder=base.is_encoder_decoder,
    )
    tell_prompts([found.counts for found in examples.values()], "training and validation examples")
    print_facts(list(_describe(options, library, names, base, examples)), stderr=options.json)
    matrix = measure(options, library, names, base, examples, config)
    write_matrix(options.out, matrix)
    if options.json:
        print_json(summarize_matrix(matrix))
        return 0
    print_matrix(matrix)
    print_line(
        f"matrix: {options.out / 'transfer.json'}  table: {options.out / 'table.md'}  picture: "
        f"{options.out / 'transfer.png'}, .svg, .pdf"
    )
    suggest_next(options, matrix)
    return 0


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    read_settings(options)


def read_settings(
    options: Namespace,
) -> tuple[TrainConfig, dict[str, Task], LibraryView, list[str] | None]:
    """Read and check all that needs no base model.

    Returns:
        The training, the tasks, the experts of the library that are used if none are named, and the named.

    Raises:
        ValueError, LoraryError: with everything that is wrong.
    """
    faults = Faults()
    config = faults.keep(lambda: TrainConfig(**vars(options.training)))
    faults.keep(lambda: check_out(options.out, options.library))
    faults.keep(lambda: check_kinds(split_commas(options.starts)))
    tasks = faults.keep(lambda: read_tasks(options))
    library = faults.keep(lambda: open_routed_library(options))
    asked = None if options.experts is None else split_commas(options.experts)
    if library is not None and asked is not None:
        known = library.library
        for name in (name for name in asked if name not in known):
            faults.add(str(UnknownExpert(name, known, "the library")))
    faults.raise_all()
    assert config is not None and tasks is not None and library is not None
    return config, tasks, library, asked


def suggest_next(options: Namespace, matrix: TransferMatrix) -> None:
    """Print the adaptation by the kind of start that was best: an expert, or a mean of several."""
    words = repeat_tasks(options)
    best = next(iter(matrix.rank_starts()), None)
    if not words or best is None:
        print_next("lorary", "library", "ls", options.library)
        return
    method = "nearest" if len(matrix.starts[best[0]]) == 1 else "average"
    print_next("lorary", "adapt", options.library, *words, "--method", method, *repeat_base(options))


def measure(
    options: Namespace,
    library: LibraryView,
    names: list[str],
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
) -> TransferMatrix:
    """Measure, with a progress bar as soon as a cell is trained."""
    shown: list[Callable[[TrainEvent[Cell]], None]] = []
    try:
        with ExitStack() as bar:

            def show(event: TrainEvent[Cell]) -> None:
                if not shown:
                    shown.append(bar.enter_context(show_training("training starts on new tasks")))
                shown[0](event)

            return transfer(
                base,
                choose_experts(options, library.library, names, base.name),
                examples,
                options.out / "cells",
                config,
                names=names,
                starts=split_commas(options.starts),
                on_progress=show,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"finished cells are kept in {quote(str(options.out / 'cells'))}: run the same command "
            "again to continue"
        ) from None


def _describe(
    options: Namespace,
    library: LibraryView,
    names: list[str],
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
) -> list[tuple[str, str]]:
    counts = [len(found.train) for found in examples.values()]
    held_out = [len(found.validation) for found in examples.values()]
    return [
        ("library", f"{options.library}, {say_count(len(names), 'expert')} of {len(library)}"),
        ("base", f"{base.name}, {str(base.model.dtype).removeprefix('torch.')} on {base.model.device}"),
        (
            "tasks",
            f"{len(examples)}, {sum(counts):,} examples for training and {sum(held_out):,} for validation",
        ),
        ("starts", f"{', '.join(split_commas(options.starts))}, and the controls fresh and base"),
    ]
