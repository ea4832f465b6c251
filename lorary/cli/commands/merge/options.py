"""Merge experts of a library into one.

The merged expert is stored in the library under a name, or as a PEFT adapter in a separate folder. Its card
has the names of the merged experts, a recipe that repeats the merge, and the error of the truncation to
its rank.

--method lorahub searches the weights of a linear merge on the first 16 training examples of a new task;
--method regmean uses the layer inputs of each expert on training examples of the expert's own tasks.
"""

from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_trust_option
from lorary.cli.keep_places import KeepPlaces
from lorary.cli.role_options import add_role_option
from lorary.cli.task_options import add_task_options

# Every key of ``lorary.transforms.MERGES``, and lorahub, which is a search of this command. A test holds them
# equal: importing that room loads PyTorch, which takes seconds, and help must appear at once.
METHODS = (
    "linear",
    "cat",
    "task_arithmetic",
    "ties",
    "dare",
    "dare_ties",
    "della",
    "breadcrumbs",
    "sce",
    "slerp",
    "nuslerp",
    "karcher",
    "model_stock",
    "arcee_fusion",
    "knots",
    "core",
    "ctm",
    "tsv",
    "iso",
    "iso_cts",
    "svd_cur",
    "wudi",
    "subtract",
    "regmean",
    "lorahub",
)
EXAMPLE = "lorary merge ./my-loras --method ties --experts poetry,prose --options density=0.3 --out writing"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the experts, the method and the output."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--out", type=str | None, help="Name in the library, or a folder such as ./merged")
    parser.add_argument(
        "--method",
        type=str | None,
        help=f"One of {len(METHODS) - 1} methods: {', '.join(METHODS[:-1])}; or {METHODS[-1]}; if not given: "
        "ties",
    )
    parser.add_argument(
        "--experts", action=KeepPlaces, nargs="+", metavar="NAME", help="Experts, in order; if not given: all"
    )
    add_role_option(parser)
    parser.add_argument(
        "--weights",
        action=KeepPlaces,
        nargs="+",
        metavar="NUMBER",
        help="Weights: one per expert, in order, or NAME=NUMBER; if not given: the method's own",
    )
    parser.add_argument(
        "--options", action=KeepPlaces, nargs="+", metavar="NAME=VALUE", help="Options of the method"
    )
    parser.add_argument(
        "--rank",
        type=str | int | None,
        help="Rank of the result: a number, a share of the energy such as 99%, kept (the largest "
        "rank of the experts) or full (no truncation)",
    )
    parser.add_argument(
        "--space",
        type=Literal["delta", "core", "factors"] | None,
        help="Space of the merge: delta (weight changes), core (exact small coordinates of them), or factors "
        "(a and b separately)",
    )
    parser.add_argument(
        "--pico",
        nargs="?",
        const="merge",
        metavar="{merge,experts}",
        help="Before the method, scale down output directions that many experts share. The "
        "merged layer then gets the mean of the experts' norms (merge, the default), or each expert "
        "keeps its norm (experts)",
    )
    parser.add_argument(
        "--layers",
        type=Literal["same", "common", "all"] | None,
        help="Layers to merge if experts change different ones: same (refuse), common (those that all "
        "change), or all (missing changes are zero)",
    )
    parser.add_argument(
        "--dtype",
        type=Literal["float16", "bfloat16", "float32", "float64"] | None,
        help="Dtype of the merged factors; if not given: that of the experts",
    )
    parser.add_argument(
        "--as-general",
        action="store_true",
        help="Store the result as a general expert: routers fall back on it if no expert fits",
    )
    parser.add_argument("--base", type=str | None, help="Without --experts: only experts for this base model")
    add_trust_option(parser)
    parser.add_argument(
        "--recipe", type=str | None, help="YAML file with experts, method and options, in mergekit's format"
    )
    add_task_options(parser, required=False)
    parser.add_argument("--device", type=str | None, help="Device for regmean and lorahub, such as cuda:1")
    parser.add_argument("--replace", action="store_true", help="Replace an expert of the same name")
    parser.add_argument("--dry-run", action="store_true", help="Print the plan only")
    parser.add_argument(
        "--json",
        action="store_true",
        help="Print JSON instead of lines: a list if a recipe file has several documents",
    )


COMMON = (
    "--out",
    "--method",
    "--experts",
    "--weights",
    "--options",
    "--rank",
    "--recipe",
    "--tasks",
    "--replace",
    "--dry-run",
)
