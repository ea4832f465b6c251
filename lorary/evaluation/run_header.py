"""The header of a result: versions, hardware, date, command, seeds, settings."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lorary.files import escape

# Maximum number of characters of the command line.
LONGEST = 10_000
PACKAGES = ("lorary", "torch", "transformers", "peft", "numpy")


def describe_run(*, seeds: Mapping[str, int], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe this process for the header of a ``Result``, as plain JSON values.

    Args:
        seeds: name of a random choice -> its seed.
        settings: the run's settings; values that are not JSON become their ``str``.

    Returns:
        ``command``, ``date`` (UTC), ``versions``, ``hardware``, ``seeds``, ``settings``.
    """
    return {
        # Without the program's folder, which has no information and may contain a user's name.
        "command": escape(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), keep="", longest=LONGEST),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_package_versions()},
        "hardware": _describe_hardware(),
        "seeds": dict(seeds),
        "settings": _plain(json.loads(json.dumps(dict(settings), default=str))),
    }


def _plain(value: Any) -> Any:
    """Escape text that cannot be encoded, such as bytes of a path that are not valid text."""
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return escape(value) if isinstance(value, str) else value


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _describe_hardware() -> dict[str, Any]:
    import torch  # imported here, so that results can be read without it

    has_affinity = hasattr(os, "sched_getaffinity")
    hardware: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor_name(),
        # The CPUs that this process may use, not all CPUs of the machine.
        "cpu_count": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        hardware["accelerator"] = torch.cuda.get_device_name()
    return hardware


def _processor_name() -> str:
    # On Linux platform.processor() is empty or only the architecture.
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
