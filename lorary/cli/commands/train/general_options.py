"""``--general`` and its settings; without PyTorch, so that help appears at once."""

from dataclasses import dataclass, field

from jsonargparse import ArgumentParser

from lorary.cli.group_switch import make_switch
from lorary.experts.names import check_name


@dataclass(frozen=True, kw_only=True)
class GeneralConfig:
    """The general expert of a training, on top of which the others are trained."""

    train: bool = False
    """The same as --general, for option files."""
    name: str = "general"
    """Its name in the library."""
    rank: int | None = None
    """Rank of its factors; null: that of --training.rank."""
    max_tokens: int | None = None
    """Maximum number of its training tokens; null: the limits of --training, which apply to each expert."""
    leave_out: list[str] = field(default_factory=list)
    """Names of tasks that it is not trained on."""

    def __post_init__(self) -> None:
        check_name(self.name)
        faults = [
            f"{name} must be at least 1, found {value}"
            for name, value in (("rank", self.rank), ("max_tokens", self.max_tokens))
            if value is not None and value < 1
        ]
        if faults:
            raise ValueError("--general: " + "; ".join(faults))


def add_general_options(parser: ArgumentParser) -> None:
    """Add ``--general`` with its settings, and ``--on-top-of``."""
    parser.add_argument(
        "--on-top-of",
        type=str | None,
        metavar="EXPERT",
        help="Train on top of this expert of the library, such as one trained on all tasks: it is always "
        "active, and the trained experts are added to it",
    )
    parser.add_class_arguments(GeneralConfig, "general")
    make_switch(
        parser,
        "general",
        "train",
        "First train a general expert on all tasks, then the others on top of it (docs/how-to/general.md)",
    )
