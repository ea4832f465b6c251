"""Train experts on synthetic tasks, route requests among them, and compare with the base model.

Needs no data and no network: the base model is part of a Python package. Takes a few minutes on two CPU
cores. A second call shows the saved outcome at once.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

EXAMPLE = "lorary quickstart --out runs/quickstart"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the folder and the sizes."""
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="Folder for all files")
    parser.add_argument(
        "--fresh", action="store_true", help="Delete the files of an earlier run and start over"
    )
    parser.add_argument("--base", default="smollm2-135m", help="Base model: hub id, folder, or smollm2-135m")
    parser.add_argument("--num-tests", type=int, default=8, help="Test examples per task")
    parser.add_argument("--max-steps", type=int, default=12, help="Optimiser steps per expert")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the tasks and of the training")
