"""Limits on untrusted files, beyond which they are refused; users can raise each limit."""

import math
import os
from dataclasses import dataclass

_BYTES = {"mb": 10**6, "gb": 10**9}


@dataclass(frozen=True)
class Limit:
    """One limit."""

    name: str
    """Its key in ``LIMITS``; keys of sizes end with their unit."""
    default: float
    """Its value if the environment does not set it."""
    what: str
    """What is limited, for messages and documentation."""

    @property
    def variable(self) -> str:
        """The environment variable that raises it."""
        return f"LORARY_MAX_{self.name.upper()}"

    @property
    def value(self) -> float:
        """The environment's value, or else the default.

        Raises:
            ValueError: if the environment's value is not a number above 0.
        """
        text = os.environ.get(self.variable)
        if text is None:
            return self.default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{self.variable} must be a number above 0 ({self.what}), found {text[:40]!r}")
        return value

    @property
    def num_bytes(self) -> int:
        """The value of a limit of megabytes or gigabytes, in bytes."""
        return int(self.value * _BYTES[self.name.rpartition("_")[2]])

    @property
    def advice(self) -> str:
        """Which limit was reached and how to raise it, for the end of a message."""
        return (
            f"at most {self.value:g} {self.what} are read; if you trust the file, set {self.variable} to a "
            "larger number"
        )


# With the defaults, a malicious file takes less than 1 GB of memory and 5 s.
_LIMITS = (
    Limit("json_mb", 16, "megabytes of one JSON or YAML file"),
    Limit("json_values", 300_000, "values in one JSON file"),
    Limit("json_depth", 100, "levels of nesting in JSON or YAML"),
    Limit("yaml_nodes", 200_000, "values in one YAML file, aliases counted as often as they are used"),
    Limit("result_mb", 64, "megabytes of one result file"),
    Limit("row_mb", 8, "megabytes of one row of a task file"),
    Limit("task_gb", 64, "gigabytes of one task file, after decompression"),
    Limit("unpack_ratio", 200, "times the size of a packed task file, above 100 megabytes,"),
    Limit("unpack_mb", 256, "megabytes of memory to unpack a task file"),
    Limit("header_mb", 32, "megabytes of the header of a weights file"),
    Limit("pickle_mb", 8, "megabytes of the index of weights that torch.save wrote"),
    Limit("tensor_count", 50_000, "tensors of one weights file"),
    Limit("artifact_mb", 256, "megabytes of one stored artifact"),
    Limit("material_mb", 1_000, "megabytes of the material of a saved model"),
    Limit("weights_mb", 4_000, "megabytes of a weights file that cannot be mapped"),
    Limit("pattern_count", 20_000, "patterns in one adapter configuration"),
    Limit("pattern_seconds", 1, "seconds of matching the patterns of one file"),
)
LIMITS = {limit.name: limit for limit in _LIMITS}
"""All limits by name."""
