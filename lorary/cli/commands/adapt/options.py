"""Adapt a library to new tasks from a few examples: an expert for each task.

--method says how the library is used. Several methods, or all, are compared on the same split, with the same
budget of tokens and the same early stopping; --store chooses which result is stored. If a file has no
splits, one in five examples is held out for validation. Without --training.epochs, max_steps and max_tokens
the budget is 20 epochs of a new expert. The same command resumes a killed run.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.adaptation.config import DEFAULT_METHOD, FEW_SHOT, AdaptConfig
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval.table import DEFAULT_RETRIEVAL, ENCODER_RETRIEVAL, RETRIEVALS
from lorary.cli.base_options import add_base_options
from lorary.cli.role_options import add_role_option
from lorary.cli.task_options import add_length_options, add_task_options
from lorary.training import TrainConfig

EXAMPLE = "lorary adapt ./my-loras --tasks new=few.jsonl --method nearest"
OWN = ("method", "rank", "retrieve", "by", "multi_task", "skills")
"""Settings with an option of their own; the others are in the group ``adapt``."""
UNUSED = {"rank", "seed", "same_start"}
"""Settings of the training that other options set, or that have no effect."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the tasks, the method with its settings, and the training configuration."""
    parser.add_argument("library", help="Folder or URL of the library")
    add_task_options(parser)
    parser.add_argument(
        "--shots",
        type=int | None,
        help="Use at most this many training examples of a task, chosen by content; if not given: all",
    )
    add_length_options(parser)
    add_base_options(parser)
    add_role_option(parser)
    _add_method_options(parser)
    _add_place_options(parser)
    parser.add_class_arguments(AdaptConfig, "adapt", skip={*OWN, "train"})
    parser.add_class_arguments(TrainConfig, "training", skip=UNUSED)
    defaults = {name: value for name, value in FEW_SHOT.items() if name != "epochs"}
    parser.set_defaults({f"training.{name}": value for name, value in defaults.items()})


def _add_method_options(parser: ArgumentParser) -> None:
    methods = ". ".join(f"{name}: {method.summary}" for name, method in METHODS.items())
    parser.add_argument(
        "--method",
        type=list[str] | str,
        default=DEFAULT_METHOD,
        metavar="NAME[,NAME…]",
        help=f"How the library is used; all: every method. {methods}",
    )
    parser.add_argument(
        "--retrieve", type=int | None, help="First choose this many experts for each task; if not given: all"
    )
    ways = ". ".join(f"{name}: {method.summary}" for name, method in RETRIEVALS.items())
    parser.add_argument(
        "--by",
        type=str | None,
        metavar="NAME",
        help=f"How experts are chosen; if not given: {DEFAULT_RETRIEVAL}, and {ENCODER_RETRIEVAL} on a "
        f"base model with an encoder. {ways}",
    )
    parser.add_argument(
        "--multi-task",
        type=str | None,
        metavar="EXPERT",
        help="The expert trained on all tasks, for method multi-task",
    )
    parser.add_argument(
        "--skills",
        type=str | None,
        metavar="EXPERT",
        help="Any skill of a trained set in the library, for methods poly and mhr; if not given: "
        "the experts are used as skills",
    )
    parser.add_argument(
        "--rank",
        type=int | None,
        help="Rank of new experts; if not given: the largest of the library's experts",
    )
    parser.add_argument(
        "--seeds", type=str, default="0", metavar="N[,N…]", help="Seeds; each method is run with each of them"
    )


def _add_place_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=str | None,
        metavar="METHOD",
        help="Store the experts of this method; or best (each task's lowest validation loss), all, or "
        "none. If not given: those of a single method, otherwise none. Of several seeds, the best is stored",
    )
    parser.add_argument(
        "--out", type=str | None, help="Library to store in; if not given: the adapted library"
    )
    parser.add_argument(
        "--name", type=str | None, help="Name of the new expert of a single task; if not given: the task's"
    )
    parser.add_argument(
        "--replace", action="store_true", help="Replace experts of the same names in the library"
    )
    parser.add_argument(
        "--against",
        type=str | None,
        metavar="METHOD",
        help="Method that the others are compared with; if not given: fresh, or the first method",
    )
    parser.add_argument(
        "--run",
        type=Path | None,
        help="Folder of the resumable state; if not given: beside a local library, else below ./runs",
    )
    parser.add_argument("--fresh", action="store_true", help="Start over instead of resuming")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")


COMMON = (
    "--tasks",
    "--method",
    "--retrieve",
    "--shots",
    "--training.max_steps",
    "--training.max_tokens",
    "--store",
    "--out",
    "--template",
    "--base",
    "--device",
)
