"""Stored answers, in a file that remains usable after a killed run."""

import errno
import fcntl
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lorary.errors import FormatError, LoraryError
from lorary.evaluation.route_experts import KnownExperts
from lorary.evaluation.scoring import Scored
from lorary.files import quote
from lorary.files.whole import sync_folder

FORMAT_VERSION = 1
HEADER = {"lorary_responses": FORMAT_VERSION}
# Errors of file systems mounted without locks; there the lock is skipped.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}

Response = Scored | str | KnownExperts
"""The score of a given answer, a generated answer, or the experts that a router chose."""


class ResponseStore:
    """Answers by the hash of everything that they depend on.

    Each batch is appended in one write and flushed to disk, so a kill loses at most one batch. A line
    that a kill has truncated is dropped at the next start.

    Args:
        path: the file; it is created if it is missing.
        reuse: whether its answers are used; otherwise it starts empty.

    Raises:
        FormatError: if the file is damaged, or not such a file.
        LoraryError: if another process is using it.
    """

    def __init__(self, path: Path, *, reuse: bool = True):
        self.path = path
        self.num_found = 0
        """Number of answers found in it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(path, flags, 0o644), "r+b")
        try:
            self._lock()
            if not reuse:
                self._file.truncate(0)
            self._known = self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, name: str | None) -> Response | None:
        """Return the answer stored under a name; None if there is none."""
        found = None if name is None else self._known.get(name)
        self.num_found += found is not None
        return found

    def add(self, responses: Mapping[str, Response]) -> None:
        """Store responses by name, on the disk when this returns."""
        self._known.update(responses)
        self._append({"name": name, **_write(response)} for name, response in responses.items())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LoraryError(
                f"another evaluation is writing {quote(str(self.path))}: wait until it has finished, or "
                "choose another --out"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise

    def _read(self) -> dict[str, Response]:
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if not lines:
            self._file.seek(0)
            self._file.truncate()
            self._append([HEADER])
            sync_folder(self.path.parent)
            return {}
        found: dict[str, Response] = {}
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if number == 1 and row != HEADER:
                    raise ValueError(f"the first line must be {json.dumps(HEADER)}")
                if number > 1:
                    found[str(row["name"])] = _read_response(row)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise FormatError(
                    f"{quote(str(self.path))}, line {number} is not a stored answer ({error}): delete the "
                    "file, or choose another --out"
                ) from error
        self._file.seek(len(whole))
        self._file.truncate()
        return found

    def _append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        self._file.flush()
        os.fsync(self._file.fileno())


def _write(response: Response) -> dict[str, Any]:
    if isinstance(response, str):
        return {"answer": response}
    if isinstance(response, Scored):
        return {"loss": response.loss, "is_likeliest": response.is_likeliest}
    places, weights = response
    return {"places": places, "weights": weights}


def _read_response(row: Mapping[str, Any]) -> Response:
    if "answer" in row:
        if not isinstance(row["answer"], str):
            raise ValueError("an answer must be a text")
        return row["answer"]
    if "loss" in row:
        loss = row["loss"]
        if (
            not isinstance(loss, float)
            or not math.isfinite(loss)
            or not isinstance(row["is_likeliest"], bool)
        ):
            raise ValueError("a score must be a finite number and true or false")
        return Scored(loss, row["is_likeliest"])
    places, weights = row["places"], row["weights"]
    if not all(isinstance(place, int) for place in places) or not weights:
        raise ValueError("a choice must be places and weights")
    return tuple(places), tuple(
        tuple(map(float, each)) if isinstance(each, list) else float(each) for each in weights
    )
