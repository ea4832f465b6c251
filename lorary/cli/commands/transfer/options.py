"""Measure experts and merges of them as starts for training on new tasks (transfer matrix).

Every start is trained on every task with the same small budget; the validation loss is measured before and
after. Controls: fresh, a new expert with the same training, and base, the base model alone. Finished cells
are kept, so the command can be interrupted and repeated, also with further experts and tasks.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.adaptation.transfer_matrix.kinds import START_KINDS
from lorary.cli.base_options import add_base_options
from lorary.cli.role_options import add_role_option
from lorary.cli.task_options import add_length_options, add_task_options
from lorary.training import TrainConfig

EXAMPLE = "lorary transfer ./my-loras --tasks new.jsonl --training.max_tokens 2000"
FOLLOWED = {"rank", "alpha", "use_rslora", "target_modules"}
"""Settings that follow the experts."""
UNUSED = {"validate_every", "patience", "same_start", "checkpoint_seconds"}
"""Settings without use here: all cells have the same budget, and no state is saved but finished cells."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the new tasks, the kinds of starts, the folder and the training configuration."""
    parser.add_argument("library", help="Folder or URL of the library")
    add_task_options(parser)
    add_length_options(parser)
    add_base_options(parser)
    add_role_option(parser)
    parser.add_argument(
        "--experts",
        type=list[str] | str | None,
        metavar="NAME[,NAME…]",
        help="Only these experts; if not given: all of the library",
    )
    kinds = ", ".join(f"{kind} ({what})" for kind, what in START_KINDS.items())
    parser.add_argument(
        "--starts",
        type=list[str] | str,
        default=",".join(START_KINDS),
        metavar="KIND[,KIND…]",
        help=f"What trainings start from: {kinds}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("transfer"),
        help="Folder for transfer.json, table.md, transfer.png, .svg and .pdf, and the finished cells",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")
    parser.add_class_arguments(TrainConfig, "training", skip=FOLLOWED | UNUSED)
    parser.set_defaults({"training.max_tokens": 4000, "training.batch_size": 4})


COMMON = (
    "--tasks",
    "--experts",
    "--starts",
    "--out",
    "--training.max_steps",
    "--training.max_tokens",
    "--template",
    "--base",
    "--device",
)
