"""The options of a run of the benchmarks."""

from dataclasses import dataclass
from pathlib import Path

import torch

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line, and a folder for temporary files."""

    scratch: Path
    """A folder that is deleted at the end."""
    quick: bool = False
    """Tiny sizes, which test that it runs and say nothing about speed."""
    full: bool = False
    """Also the slow parts: PEFT with 128 experts, and 256 wide experts on disk."""
    repeats: int = 5
    """Rounds, each of which measures every side once."""
    threads: int | None = None
    """CPU threads; None for PyTorch's own choice."""
    dtype: str = "bfloat16"
    """Of the base model and of the experts on it."""
    base: str = "smollm2-135m"
    """The base model, as ``load_base`` takes it."""
    data: Path | None = None
    """A folder with a MANIFEST.json that lists task files, for training; None for generated tasks."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, found {self.repeats!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, found {self.threads!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, found {self.dtype!r}")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        return DTYPES[self.dtype]
