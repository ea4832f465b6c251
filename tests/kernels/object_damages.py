"""What may become of a compiled object in the cache folder."""

import os
import shutil
from pathlib import Path


def find_object(cache):
    [place] = (cache / "kernels").iterdir()
    return place


def flip_bit(place):
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)


def truncate(place):
    os.truncate(place, place.stat().st_size // 2)


def put_folder(place):
    place.unlink()
    place.mkdir()
    (place / "inside").write_text("")


def put_pipe(place):
    place.unlink()
    os.mkfifo(place)


def put_link(place):
    kept = place.rename(place.parent.parent / "elsewhere.so")
    place.symlink_to(kept)


def put_second_name(place):
    os.link(place, place.parent.parent / "elsewhere.so")


def put_foreign_object(place):
    """A real library under the object's name: loading it would run its code."""
    import torch

    shutil.copy(Path(torch.__file__).parent / "lib" / "libshm.so", place)


DAMAGES = {
    "flipped bit": flip_bit,
    "truncated": truncate,
    "empty": lambda place: os.truncate(place, 0),
    "unreadable": lambda place: place.chmod(0),
    "writable by others": lambda place: place.chmod(0o666),
    "a folder": put_folder,
    "a named pipe": put_pipe,
    "a link": put_link,
    "a second name": put_second_name,
    "a foreign object": put_foreign_object,
    "another hash": lambda place: place.rename(place.with_name(place.name[:-10] + "0000000.so")),
    "no hash": lambda place: place.rename(place.with_name(place.name.rsplit("-", 1)[0] + "-.so")),
}
