"""Group experts with similar weight changes into clusters (model-based clustering).

Writes a YAML file with which `lorary train --config` trains one expert per cluster on the tasks of its
members, and a picture beside it. The similarity is the exact cosine of the experts' normalised weight
changes minus their mean, or that of the paper (--method mbc). Without --num-clusters, the number with the
largest mean silhouette is chosen.
"""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_trust_option
from lorary.cli.role_options import add_role_option

EXAMPLE = "lorary cluster ./my-loras --out clusters.yaml"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the settings of the clustering, and the file."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument(
        "--method",
        type=Literal["cosine", "mbc"],
        default="cosine",
        help="cosine compares the whole weight changes exactly; mbc compares the largest fifth of the "
        "factors' entries, as in the paper, for experts with the same start (--training.same_start true)",
    )
    parser.add_argument(
        "--num-clusters", type=int | None, help="Number of clusters; if not given: chosen by silhouette"
    )
    parser.add_argument("--max-clusters", type=int, default=20, help="Maximum number of clusters to try")
    parser.add_argument(
        "--sketch",
        type=int | None,
        help="Approximate the cosines by this many random directions on each side of a layer, such as 16; a "
        "thousand experts then take seconds instead of minutes",
    )
    add_role_option(parser)
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    add_trust_option(parser)
    parser.add_argument("--seed", type=int, default=0, help="Seed of the starts of k-means")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("clusters.yaml"),
        help="YAML file for the tasks of each cluster; the pictures end in .png, .svg and .pdf",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")
