"""Run a protocol: the stages of a published experiment, one command after the other.

Without a protocol, the known ones are listed. A protocol is a name, or a YAML file of your own. Every stage
is printed as a command that can be typed. A stopped run goes on with the same command: stages that have
ended are not run again. --scale tiny tries the whole protocol on a random model, in minutes. --dry-run prints
the plan: stages, commands, tokens, hours, memory and disk.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces

EXAMPLE = "lorary run phi2-flan256 --scale tiny --dry-run"
DEFAULT_SCALE = "full"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the protocol, its scale, its folder, and what the plan assumes."""
    parser.add_argument(
        "protocol",
        type=str | None,
        nargs="?",
        help="Name of a protocol, or a YAML file; if not given: the known ones are listed",
    )
    parser.add_argument(
        "--scale", default=DEFAULT_SCALE, metavar="NAME", help="full is the real experiment, tiny a trial"
    )
    parser.add_argument(
        "--out", type=Path | None, help="Folder for all files; if not given: runs/PROTOCOL-SCALE"
    )
    parser.add_argument(
        "--data", type=Path | None, metavar="FOLDER", help="Folder with the data; docs/how-to/protocols.md"
    )
    parser.add_argument(
        "--set",
        action=KeepPlaces,
        nargs="+",
        metavar="NAME=VALUE",
        help="Other values than those of the scale; commas separate several",
    )
    parser.add_argument("--device", type=str | None, help="Device of all stages, such as cuda:1")
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="Allow stages that run programs which the model writes, in a sandbox",
    )
    parser.add_argument("--dry-run", action="store_true", help="Print the plan, and run nothing")
    parser.add_argument(
        "--tflops",
        type=float | None,
        help="Speed of the device in the plan, in 10^12 operations per second; if not given: that of the "
        "scale, which is 125 for an A100 at 40% of its peak",
    )
    parser.add_argument("--json", action="store_true", help="Print the plan or the table as JSON")
