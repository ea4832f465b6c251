"""Task files as streams of unpacked bytes; files that unpack to a far larger size are refused."""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from lorary.errors import DataError, FormatError
from lorary.files import LIMITS, open_regular, quote

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"
CHUNK = 2**16
# Up to this size the compression ratio is not checked, since a few equal rows compress very well.
HARMLESS = 100 * 10**6  # bytes


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a plain, gzip or xz file; which one is found from its content.

    Raises:
        DataError: if it is missing, a folder, not a regular file, corrupt or truncated, or unpacks to too
            much; also while it is read.
    """
    try:
        with open_regular(path) as packed:
            magic = packed.read(len(XZ_MAGIC))
            packed.seek(0)
            yield io.BufferedReader(_Counted(_unpack(packed, magic), packed, path), CHUNK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"there is no task file {quote(str(path))}: check the path") from error
    except FormatError as error:
        is_folder = path.is_dir()
        reason = f"a task file must be a file, {quote(str(path))} is a folder: name one file in it"
        raise DataError(reason if is_folder else str(error)) from error
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(_explain(path, error)) from error


def _explain(path: Path, error: Exception) -> str:
    if "memory" in str(error).lower():
        return f"{quote(str(path))} needs too much memory to be unpacked: {LIMITS['unpack_mb'].advice}"
    return f"{quote(str(path))} is corrupt or truncated ({error}): download it again"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpack(packed: BinaryIO, magic: bytes) -> _Readable:
    if magic == XZ_MAGIC:
        return _Xz(packed)
    return gzip.GzipFile(fileobj=packed) if magic.startswith(GZIP_MAGIC) else packed


class _Xz:
    """An xz file of one or more streams, unpacked within a memory limit, unlike by ``lzma.LZMAFile``."""

    def __init__(self, packed: BinaryIO):
        self._packed = packed
        self._stream: lzma.LZMADecompressor | None = None
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while True:
            data = self._rest
            if not data and (self._stream is None or self._stream.needs_input):
                data = self._packed.read(CHUNK)
            if self._stream is None:
                data = data.lstrip(b"\0")  # padding between streams
                if not data:
                    return b""
                memory = LIMITS["unpack_mb"].num_bytes
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory)
            elif not data and self._stream.needs_input:
                raise EOFError("the last stream has no end")
            self._rest = b""
            found = self._stream.decompress(data, size)
            if self._stream.eof:
                self._rest, self._stream = self._stream.unused_data, None
            if found:
                return found


class _Counted(io.RawIOBase):
    """The bytes of a stream; reading too many raises an error."""

    def __init__(self, unpacked: _Readable, packed: BinaryIO, path: Path):
        self._unpacked = unpacked
        self._packed = packed
        self._path = path
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = cast(memoryview, buffer)
        found = self._unpacked.read(len(view))
        view[: len(found)] = found
        self._count += len(found)
        self._check()
        return len(found)

    def _check(self) -> None:
        name = quote(str(self._path))
        if self._count > LIMITS["task_gb"].num_bytes:
            raise DataError(f"{name} is too large: {LIMITS['task_gb'].advice}")
        is_packed = self._unpacked is not self._packed
        if is_packed and self._count > max(HARMLESS, LIMITS["unpack_ratio"].value * self._packed.tell()):
            raise DataError(f"{name} unpacks to far more than it is: {LIMITS['unpack_ratio'].advice}")
