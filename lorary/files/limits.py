"""How much of a file from outside is read before it is refused; each limit can be raised by its user."""

import math
import os
from typing import NamedTuple


class Limit(NamedTuple):
    """One limit."""

    default: float
    """What holds if nobody says otherwise."""
    what: str
    """What is limited, for messages and documentation."""


# The defaults keep one hostile file below 1 GB of memory and 5 s.
LIMITS = {
    "json_mb": Limit(16, "megabytes of one JSON or YAML file"),
    "json_values": Limit(300_000, "values in one JSON file"),
    "json_depth": Limit(100, "levels of nesting in JSON or YAML"),
    "yaml_nodes": Limit(200_000, "values in one YAML file, aliases counted as often as they are used"),
    "result_mb": Limit(64, "megabytes of one result file"),
    "row_mb": Limit(8, "megabytes of one row of a task file"),
    "task_gb": Limit(64, "gigabytes of one task file, once unpacked"),
    "unpack_ratio": Limit(200, "times the size of a packed task file, above 100 megabytes,"),
    "unpack_mb": Limit(256, "megabytes of memory to unpack a task file"),
    "header_mb": Limit(32, "megabytes of the header of a weights file"),
    "pickle_mb": Limit(8, "megabytes of the index of weights that torch.save wrote"),
    "tensor_count": Limit(50_000, "tensors of one weights file"),
    "artifact_mb": Limit(256, "megabytes of one stored artifact"),
    "material_mb": Limit(1_000, "megabytes of the material of a saved model"),
    "weights_mb": Limit(4_000, "megabytes of a weights file that cannot be mapped"),
    "pattern_count": Limit(20_000, "patterns in one adapter configuration"),
    "pattern_seconds": Limit(1, "seconds of matching the patterns of one file"),
}


def find_limit(name: str) -> float:
    """Give a limit: the environment's ``LORARY_MAX_<NAME>``, or else the default.

    Args:
        name: a key of ``LIMITS``.

    Raises:
        ValueError: if the environment's value is no number above 0.
    """
    variable = name_variable(name)
    text = os.environ.get(variable)
    if text is None:
        return LIMITS[name].default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise ValueError(f"{variable} must be a number above 0 ({LIMITS[name].what}), found {text[:40]!r}")
    return value


def name_variable(name: str) -> str:
    """Name the environment variable that raises a limit."""
    return f"LORARY_MAX_{name.upper()}"


def say_limit(name: str) -> str:
    """Say which limit was met and how to raise it, for the end of a message."""
    return (
        f"at most {find_limit(name):g} {LIMITS[name].what} are read; if you trust the file, set "
        f"{name_variable(name)} to a larger number"
    )
