"""Train one expert per task, many at once, into a library.

Experts that the library already has from the same data and settings are not trained again. The same command
resumes a killed run. Each expert is stored in the library as soon as it is finished. Without
--training.epochs, max_steps and max_tokens, training takes 3 epochs. --expert trains one expert on all tasks,
--groups one expert per group of tasks; --continue continues from experts in the library. --general first
trains an expert on all tasks and then the others on top of it; --on-top-of trains on top of an expert in the
library. --method trains skills, a router, or experts of other kinds.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.commands.train.general_options import add_general_options
from lorary.cli.commands.train.methods import add_method_options
from lorary.cli.keep_places import KeepPlaces
from lorary.cli.task_options import add_length_options, add_task_options
from lorary.training import TrainConfig

# The keys of ``trackers.TRACKERS``, which a test holds equal: importing that module loads PyTorch.
TRACKER_NAMES = ("tensorboard", "wandb")

EXAMPLE = "lorary train ./my-loras --tasks synthetic --training.max_steps 4"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the tasks, the base model and the training configuration."""
    parser.add_argument("library", help="Folder or URL of the library; created if missing")
    add_task_options(parser)
    add_length_options(parser)
    add_base_options(parser, is_training=True)
    add_method_options(parser)
    add_general_options(parser)
    parser.add_argument(
        "--expert",
        type=str | None,
        help="Train one expert of this name on all tasks, instead of one per "
        "task; with poly and mhr: the name of the skills; with moe: the name of the router",
    )
    parser.add_argument(
        "--groups",
        type=dict[str, list[str]] | None,
        help="Train one expert per group of tasks: a mapping in YAML or JSON from expert to its task names",
    )
    parser.add_argument(
        "--continue",
        action=KeepPlaces,
        nargs="+",
        metavar="[NAME=]EXPERT",
        help="Start from the weights of an expert in the library: poetry if one expert is trained, or if a "
        "task has this name; otherwise NAME=poetry, where NAME is trained. The result is a new expert with "
        "poetry as its parent, named poetry-2 if poetry is taken; with --replace it replaces the expert of "
        "its own name",
    )
    parser.add_argument(
        "--run",
        type=Path | None,
        help="Folder of the resumable state; if not given: one beside a local library, else below ./runs",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="Start over instead of resuming, and retrain experts that the library already has",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="Replace experts of the same names that have different data or settings",
    )
    parser.add_argument(
        "--report-to",
        nargs="+",
        choices=TRACKER_NAMES,
        default=[],
        metavar="NAME",
        help="Report loss curves during training: tensorboard (in the run's folder), wandb (Weights & "
        "Biases, with its own settings); each needs its package",
    )
    parser.add_argument(
        "--tags", nargs="+", default=[], metavar="TAG", help="Keywords for the cards of the trained experts"
    )
    parser.add_argument(
        "--notes", type=str, default="", help="A sentence or two for the cards of the trained experts"
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")
    parser.add_class_arguments(TrainConfig, "training")


COMMON = (
    "--tasks",
    "--base",
    "--method",
    "--continue",
    "--expert",
    "--training.rank",
    "--training.learning_rate",
    "--training.epochs",
    "--training.max_steps",
    "--training.batch_size",
    "--template",
    "--device",
    "--replace",
    "--fresh",
)
