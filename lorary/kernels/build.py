"""Compile ``cpu.cpp`` and its headers for this machine, once; a machine without a C++ compiler goes without.

The one threads library is PyTorch's: the object is linked without OpenMP and finds the symbols that PyTorch
has loaded, so that both share their threads instead of fighting for the cores.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("cpu.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-w")
OPENMP = "-fopenmp"
COMPILERS = ("c++", "g++", "clang++")

logger = logging.getLogger("lorary")


@cache
def load_object() -> ctypes.CDLL | None:
    """Give the compiled operators, from ``$LORARY_CACHE`` or ``~/.cache/lorary`` if they were built before.

    Returns:
        The loaded object; None if there is no compiler, if it fails, or if ``LORARY_KERNELS`` is 0.
    """
    if os.environ.get("LORARY_KERNELS") == "0":
        return None
    compiler = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        logger.info("no C++ compiler found: experts run on plain PyTorch operators, which are slower")
        return None
    failures = []
    for flags in ((*FLAGS, OPENMP), FLAGS):
        try:
            return _load(compiler, flags)
        except (OSError, subprocess.SubprocessError) as failure:
            failures.append(_describe(failure))
    logger.warning(
        "%s could not build lorary's operators, experts run on plain PyTorch operators, which are slower "
        "(LORARY_KERNELS=0 does not try): %s",
        compiler,
        failures[-1],
    )
    return None


def _load(compiler: str, flags: Sequence[str]) -> ctypes.CDLL:
    place = _find_place(compiler, flags)
    if not place.exists():
        _build(compiler, flags, place)
    return ctypes.CDLL(str(place))


def _find_place(compiler: str, flags: Sequence[str]) -> Path:
    """Name the file by all that its content depends on: a home may be shared by different machines."""
    folder = Path(os.environ.get("LORARY_CACHE") or Path.home() / ".cache" / "lorary") / "kernels"
    digest = hashlib.sha256()
    for source in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))):
        digest.update(source.read_bytes())
    digest.update("\0".join((compiler, *flags, torch.__version__, *_describe_processor())).encode())
    return folder / f"cpu-{digest.hexdigest()[:16]}.so"


def _describe_processor() -> list[str]:
    told = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return told
    return told + sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})


def _build(compiler: str, flags: Sequence[str], place: Path) -> None:
    """Write the object whole or not at all; two processes may build at once."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
        middle, built = Path(scratch) / "cpu.o", Path(scratch) / "cpu.so"
        for command in (
            [compiler, *flags, "-c", str(SOURCE), "-o", str(middle)],
            [compiler, "-shared", str(middle), "-o", str(built)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        os.replace(built, place)


def _describe(failure: Exception) -> str:
    told = getattr(failure, "stderr", None) or str(failure)
    return str(told).strip()[:500]
