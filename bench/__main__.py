"""``python -m bench``."""

import gc
import os

# Read once, when transformers and tokenizers are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from bench.command import main
from bench.quiet import quieten

# Measurements of memory start this module again in a process of their own.
if __name__ == "__main__":
    gc.freeze()  # what the imports made is never garbage: collecting between rounds is quick then
    quieten()
    try:
        main()
    finally:
        gc.unfreeze()  # or what is left at the end is told as leaks
