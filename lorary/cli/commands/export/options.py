"""Export an expert as a PEFT adapter, or folded into its base model.

Without --fold the folder is a PEFT adapter, which PEFT and vLLM can load. With --fold it is a transformers
model whose weights are the sum of base model and expert. Merged experts can be exported too. An expert that
builds on a general expert is written as the exact sum of both, so that no other adapter is needed.
"""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options

EXAMPLE = "lorary export ./my-loras poetry --fold --out poetry-model"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the expert, the folder and its format."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("expert", help="Name of the expert")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; it must not exist yet")
    parser.add_argument("--fold", action="store_true", help="Add the expert to its base model's weights")
    parser.add_argument(
        "--dtype",
        type=Literal["float16", "bfloat16", "float32"] | None,
        help="Dtype of the weights; if not given: the expert's, or with --fold the base model's",
    )
    add_base_options(parser, default_dtype=None)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
