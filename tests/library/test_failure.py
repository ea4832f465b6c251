"""What is said when the operating system refuses a write."""

import errno
import os

import pytest

from lorary.errors import LibraryError
from lorary.library.failure import explain_failure
from lorary.library.storage.contract import Outcome

UNCHANGED = Outcome.UNCHANGED.value


def fail(code):
    return OSError(code, os.strerror(code), "lib/file")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_every_refused_write_leaves_the_library_as_it_was(library, make_expert, same, monkeypatch, code):
    library["a"] = make_expert("a", 1)

    def write(*arguments):
        raise fail(code)

    with monkeypatch.context() as patch:
        patch.setattr(library._storage, "write_many", write)
        for change in (
            lambda: library.update(a=make_expert("a", 2)),
            lambda: library.add(make_expert("b")),
            lambda: library.copy("a", "b"),
            lambda: library.rename("a", "b"),
        ):
            with pytest.raises(LibraryError, match="The library is unchanged"):
                change()
    assert list(library) == ["a"] and same(library["a"], make_expert("a", 1))
    assert library.verify() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(local, code):
    message = str(explain_failure(local._storage, fail(code), "store expert 'a'", UNCHANGED, 1_234_567))
    assert message.startswith(f"cannot store expert 'a' in library {local.url!r}: no space left in ")
    assert "1,234,567 bytes are needed, " in message
    assert message.endswith(" are free; free some space and try again. The library is unchanged")


def test_a_forbidden_write_is_told_with_what_to_do(local):
    message = str(explain_failure(local._storage, fail(errno.EACCES), "delete expert 'a'", UNCHANGED))
    assert "not allowed to write there ([Errno 13] Permission denied: 'lib/file'): ask for" in message
