"""Compile ``cpu.cpp`` and its headers for this machine, once; without a compiler, plain PyTorch is used.

The only threads library is PyTorch's: the object is linked without OpenMP and finds the symbols that PyTorch
has loaded, so that both share their threads instead of competing for the cores.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from lorary.files import escape, quote
from lorary.kernels.object_cache import keep_object, load_kept, open_folder

SOURCE = Path(__file__).with_name("cpu.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-w")
OPENMP = "-fopenmp"
COMPILERS = ("c++", "g++", "clang++")
TIMEOUT = 300  # seconds
WISHES = ("0", "triton")

logger = logging.getLogger("lorary")


def read_wish() -> str | None:
    """Read which operators ``LORARY_KERNELS`` asks for: ``0`` for none, ``triton``, or None.

    Raises:
        ValueError: if it has another value.
    """
    wish = os.environ.get("LORARY_KERNELS") or None
    if wish is not None and wish not in WISHES:
        raise ValueError(
            f"LORARY_KERNELS must be {' or '.join(WISHES)}, or not set, found {quote(wish)}: unset "
            "it to use the available operators"
        )
    return wish


@cache
def load_object() -> ctypes.CDLL | None:
    """Return the compiled operators, from ``$LORARY_CACHE`` or ``~/.cache/lorary`` if they were built before.

    The environment's ``CXX`` may name a compiler, with arguments.

    Returns:
        The loaded object; None if there is no compiler, if it fails, or if ``LORARY_KERNELS`` is 0.

    Raises:
        ValueError: if ``LORARY_KERNELS`` has another value.
    """
    if read_wish() == "0":
        return None
    failures = []
    try:
        compiler = find_compiler()
        if not compiler:
            logger.info("no C++ compiler found: experts run on plain PyTorch operators, which are slower")
            return None
        folder = open_folder()
        for flags in ((*FLAGS, OPENMP), FLAGS):
            try:
                return _load(compiler, flags, folder)
            except (OSError, subprocess.SubprocessError) as failure:
                failures.append(_describe(failure))
    except ValueError as failure:
        failures.append(_describe(failure))
    logger.warning(
        "%s could not build lorary's operators, experts run on plain PyTorch operators, which are slower "
        "(LORARY_KERNELS=0 does not try): %s",
        quote(os.environ.get("CXX") or "the C++ compiler"),
        failures[-1],
    )
    return None


def find_compiler() -> list[str]:
    """Split ``CXX`` into words as a shell does, or return the first compiler found; empty if there is none.

    Raises:
        ValueError: if a quotation in ``CXX`` has no end.
    """
    words = shlex.split(os.environ.get("CXX", ""))
    return words or [name for name in COMPILERS if shutil.which(name)][:1]


def _load(compiler: Sequence[str], flags: Sequence[str], folder: Path | None) -> ctypes.CDLL:
    """Load the stored object, or compile it; an object that cannot be stored is loaded all the same."""
    key = _compute_key(compiler, flags)
    kept = None if folder is None else load_kept(folder, key)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="lorary-", ignore_cleanup_errors=True) as scratch:
        built = _build(compiler, flags, Path(scratch))
        kept = None if folder is None else keep_object(folder, key, built)
        return kept or ctypes.CDLL(str(built))


def _compute_key(compiler: Sequence[str], flags: Sequence[str]) -> str:
    """Hash everything that the object depends on, since different machines may share a home."""
    digest = hashlib.sha256()
    for source in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))):
        digest.update(source.read_bytes())
    programs = map(_describe_program, compiler)
    told = *compiler, *programs, *flags, torch.__version__, *_describe_processor()
    digest.update("\0".join(told).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _describe_program(word: str) -> str:
    """Identify a compiler, to notice when it is replaced."""
    path = shutil.which(word)
    if path is None:
        return ""
    status = os.stat(path)
    return f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}"


def _describe_processor() -> list[str]:
    told = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return told
    return told + sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})


def _build(compiler: Sequence[str], flags: Sequence[str], scratch: Path) -> Path:
    middle, built = scratch / "cpu.o", scratch / "cpu.so"
    _run([*compiler, *flags, "-c", str(SOURCE), "-o", str(middle)], scratch)
    _run([*compiler, "-shared", str(middle), "-o", str(built)], scratch)
    return built


def _run(command: Sequence[str], scratch: Path) -> None:
    """Run a compiler within a time limit; the processes that it started end with it."""
    with (scratch / "told").open("w+b") as told:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True
        )
        try:
            code = process.wait(TIMEOUT)
        except BaseException:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if code:
            told.seek(0)
            raise subprocess.CalledProcessError(
                code, command[0], stderr=told.read(4000).decode(errors="replace")
            )


def _describe(failure: Exception) -> str:
    told = getattr(failure, "stderr", None) or str(failure)
    return escape(str(told).strip(), longest=500)
