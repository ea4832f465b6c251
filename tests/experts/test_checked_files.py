"""A file is looked through once, and again as soon as it may be another."""

import os
import stat

import pytest

from lorary.experts import checked_files as room
from lorary.experts.file_layout import identify

HASH, OTHER = "0" * 64, "1" * 64


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    room._read_known.cache_clear()
    yield tmp_path / "cache"
    room._read_known.cache_clear()


@pytest.fixture
def settled(monkeypatch):
    """Every file counts as written long ago."""
    monkeypatch.setattr(room, "SETTLED_NS", 0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def start_again():
    room._read_known.cache_clear()


def test_what_was_checked_is_known_to_this_process_and_the_next(settled, file):
    identity = identify(file.stat())
    assert not room.was_checked(identity, HASH)
    room.remember_checked(identity, HASH)
    assert room.was_checked(identity, HASH) and not room.was_checked(identity, OTHER)
    start_again()
    assert room.was_checked(identity, HASH) and not room.was_checked(identity, OTHER)


def test_a_file_that_was_written_again_or_replaced_is_another_one(settled, file, tmp_path):
    """Its size and time may be set to what they were; when its inode changed can't."""
    before = file.stat()
    room.remember_checked(identify(before), HASH)
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not room.was_checked(identify(file.stat()), HASH)
    (tmp_path / "other").write_bytes(b"content")
    os.replace(tmp_path / "other", file)
    assert not room.was_checked(identify(file.stat()), HASH)


def test_a_file_that_was_written_just_now_is_not_remembered(file):
    """Within one tick of the clock it may be written again, and nothing would tell."""
    room.remember_checked(identify(file.stat()), HASH)
    assert not room.was_checked(identify(file.stat()), HASH)


def test_looking_makes_no_folder(file, cache):
    assert not room.was_checked(identify(file.stat()), HASH)
    room.remember_checked(identify(file.stat()), HASH)
    assert not cache.exists()


def test_what_is_kept_is_the_users_alone(settled, file, cache):
    room.remember_checked(identify(file.stat()), HASH)
    assert stat.S_IMODE((cache / "checked").stat().st_mode) == 0o700
    assert stat.S_IMODE((cache / "checked" / "weights.txt").stat().st_mode) == 0o600


@pytest.mark.parametrize("spoil", ["link", "pipe", "file", "bytes"])
def test_a_cache_that_cannot_be_trusted_or_read_is_done_without(settled, file, cache, tmp_path, spoil):
    cache.mkdir()
    if spoil == "file":
        (cache / "checked").write_text("x")
    else:
        (cache / "checked").mkdir()
        place = cache / "checked" / "weights.txt"
        if spoil == "link":
            place.symlink_to(tmp_path / "made")
        elif spoil == "pipe":
            os.mkfifo(place)
        else:
            place.write_bytes(b"\xff" * 100)
    identity = identify(file.stat())
    assert not room.was_checked(identity, HASH)
    room.remember_checked(identity, HASH)
    assert room.was_checked(identity, HASH)
    assert not (tmp_path / "made").exists()


def test_of_too_much_the_older_half_is_dropped(settled, file, cache, monkeypatch):
    monkeypatch.setattr(room, "MOST_LINES", 10)
    identity = identify(file.stat())
    for number in range(12):
        room.remember_checked(identity, f"{number:064}")
    start_again()
    assert [number for number in range(12) if room.was_checked(identity, f"{number:064}")] == list(
        range(7, 12)
    )
    assert len((cache / "checked" / "weights.txt").read_text().splitlines()) == 5
