"""Train a small library on tasks that lorary writes itself, route tokens through it, and compare.

Needs no data and no network: the base model comes with a Python package. Takes minutes on two CPU cores;
run again, it shows what it found at once.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

EXAMPLE = "lorary quickstart --out runs/quickstart"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the folder and the sizes."""
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="Folder for all it makes")
    parser.add_argument(
        "--fresh", action="store_true", help="Throw away what an earlier run left and start over"
    )
    parser.add_argument("--base", default="smollm2-135m", help="Base model: hub id, folder, or smollm2-135m")
    parser.add_argument("--num-tests", type=int, default=8, help="Test examples per task")
    parser.add_argument("--max-steps", type=int, default=16, help="Optimiser steps per expert")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the tasks and of the training")
