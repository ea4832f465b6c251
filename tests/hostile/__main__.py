"""Try hostile inputs on every reader: ``python -m tests.hostile --inputs 100000 --seed 1``.

Prints what was tried and what came of it, a line for each finding with the command that repeats it, and ends
with 1 if there is one. ``--only NUMBER`` repeats one input in this process, with everything it says.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", MPLBACKEND="agg"
)
for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, help="How many in all; every kind once for every reader if not given"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", help="Only this one; may be given again")
    parser.add_argument("--only", type=int, help="Repeat this number of the one reader here, without a guard")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, help="Write all outcomes there")
    return parser.parse_args()


def main() -> int:
    """Do what the command line says."""
    options = read_options()
    import torch

    torch.set_num_threads(1)
    from tests.hostile.surroundings import write_bulk
    from tests.hostile.work import repeat_one, try_readers

    root = Path(tempfile.mkdtemp(prefix="lorary-hostile-"))
    os.environ["HOSTILE_ROOT"] = str(root)
    try:
        write_bulk(root / "bulk")
        if options.only is not None:
            return repeat_one(options, root)
        return try_readers(options, root)
    finally:
        os.chdir("/")
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
