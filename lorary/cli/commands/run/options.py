"""Run a protocol: the stages of a published experiment, one command after the other.

Without a protocol, the available ones are listed. A protocol is given by its name, or as your own YAML file.
Every stage is printed as a command that you can also type. The same command continues a stopped run; finished
stages are not run again. --scale tiny runs the whole protocol on a random model, in minutes. --dry-run prints
the plan: stages, commands, tokens, hours, memory and disk space.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces

EXAMPLE = "lorary run phi2-flan256 --scale tiny --dry-run"
DEFAULT_SCALE = "full"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the protocol, its scale, its folder, and the assumptions of the plan."""
    parser.add_argument(
        "protocol",
        type=str | None,
        nargs="?",
        help="Name of a protocol, or a YAML file; if not given: the available ones are listed",
    )
    parser.add_argument(
        "--scale",
        default=DEFAULT_SCALE,
        metavar="NAME",
        help="full is the published experiment, tiny a trial",
    )
    parser.add_argument(
        "--out", type=Path | None, help="Folder for all files; if not given: runs/PROTOCOL-SCALE"
    )
    parser.add_argument(
        "--data",
        type=Path | None,
        metavar="FOLDER",
        help="Folder with the data (see docs/how-to/protocols.md)",
    )
    parser.add_argument(
        "--set",
        action=KeepPlaces,
        nargs="+",
        metavar="NAME=VALUE",
        help="Change values of the scale; commas separate the values of a list",
    )
    parser.add_argument("--device", type=str | None, help="Device of all stages, such as cuda:1")
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="Allow stages that run programs written by the model, in a sandbox",
    )
    parser.add_argument("--dry-run", action="store_true", help="Print the plan without running anything")
    parser.add_argument(
        "--tflops",
        type=float | None,
        help="Speed of the device in the plan, in 10^12 operations per second; if not given: that of the "
        "scale, which is 125 for an A100 at 40% of its peak",
    )
    parser.add_argument("--json", action="store_true", help="Print the plan or the table as JSON")
