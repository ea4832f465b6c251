"""Put experts into clusters that change their base model alike: model-based clustering.

Writes the YAML with which `lorary train --config` trains one expert per cluster on the tasks of its members,
and beside it a picture. Experts are compared by the exact cosines of their weight changes, less what all
have in common, or as in the paper (--method mbc). Without --num-clusters the number with the greatest mean
silhouette is taken.
"""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

EXAMPLE = "lorary cluster ./my-loras --out clusters.yaml"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, how its experts are compared, and where the outcome goes."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument(
        "--method",
        type=Literal["cosine", "mbc"],
        default="cosine",
        help="Compare whole weight changes exactly, or the largest fifth of the factors as the paper does, "
        "which needs experts that were trained from the same start (--training.same_start true)",
    )
    parser.add_argument("--num-clusters", type=int | None, help="How many; chosen by silhouette if not given")
    parser.add_argument("--max-clusters", type=int, default=20, help="Most clusters to try")
    parser.add_argument(
        "--sketch",
        type=int | None,
        help="Compare nearly, along so many random directions on either side of a layer, such as 16: seconds "
        "where a thousand experts take minutes",
    )
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    parser.add_argument("--seed", type=int, default=0, help="Of the starts of k-means")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("clusters.yaml"),
        help="File for the tasks of each cluster; the picture beside it has the same name with .png",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")
