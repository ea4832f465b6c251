"""Merge experts of a library into one.

The merged expert goes into the library by a name, or into a folder of its own, as a plain PEFT adapter. Its
card says which experts it was made of, how to repeat the merge, and what cutting it to its rank lost.
--method lorahub finds the weights of a linear merge from the first 16 training examples of a new task;
--method regmean looks at what each expert's layers are given by training examples of the expert's own task.
"""

from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces
from lorary.cli.task_options import add_task_options

EXAMPLE = "lorary merge ./my-loras --method ties --experts poetry,prose --options density=0.3 --out writing"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, what to merge and how, and where to."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--out", type=str | None, help="Name in the library, or a folder such as ./merged")
    parser.add_argument(
        "--method",
        type=str | None,
        help="linear, cat, task_arithmetic, ties, dare, dare_ties, della, breadcrumbs, sce, slerp, nuslerp, "
        "karcher, model_stock, arcee_fusion, knots, core, tsv, iso, iso_cts, wudi, subtract, regmean or "
        "lorahub; ties if not given",
    )
    parser.add_argument(
        "--experts", action=KeepPlaces, nargs="+", metavar="NAME", help="Experts, in order; all if not given"
    )
    parser.add_argument(
        "--weights",
        action=KeepPlaces,
        nargs="+",
        metavar="NUMBER",
        help="One per expert, in order, or NAME=NUMBER; the method's own if not given",
    )
    parser.add_argument(
        "--options", action=KeepPlaces, nargs="+", metavar="NAME=VALUE", help="The method's own options"
    )
    parser.add_argument(
        "--rank",
        type=str | int | None,
        help="A number, a share of the energy such as 99%, kept (the experts' largest) or full",
    )
    parser.add_argument(
        "--space", type=Literal["delta", "core", "factors"] | None, help="What the method is applied to"
    )
    parser.add_argument(
        "--layers",
        type=Literal["same", "common", "all"] | None,
        help="Where experts change different layers: refuse, merge those all change, or count zeros",
    )
    parser.add_argument(
        "--dtype",
        type=Literal["float16", "bfloat16", "float32", "float64"] | None,
        help="Of the merged factors; that of the experts if not given",
    )
    parser.add_argument("--base", type=str | None, help="Without --experts: all for this base model")
    parser.add_argument(
        "--recipe", type=str | None, help="YAML file that says what to merge and how, such as mergekit's"
    )
    add_task_options(parser, required=False)
    parser.add_argument("--device", type=str | None, help="Where regmean and lorahub run the base model")
    parser.add_argument("--replace", action="store_true", help="Replace what is there by that name")
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be done")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
