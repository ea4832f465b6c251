"""``python -m bench``."""

import gc
import os

# Read once, when transformers and tokenizers are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from bench.command import main
from bench.quiet import quieten

# Measurements of memory start this module again in a separate process.
if __name__ == "__main__":
    gc.freeze()  # objects of the imports are never garbage: this makes collecting between rounds fast
    quieten()
    try:
        main()
    finally:
        gc.unfreeze()  # otherwise remaining objects are reported as leaks
