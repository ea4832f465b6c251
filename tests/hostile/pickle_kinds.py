"""Hostile files of ``torch.save``: pickles that call, count or nest otherwise, in archives that lie."""

import io
import pickletools
import struct
import zipfile
from pathlib import Path
from random import Random

from tests.hostile.byte_kinds import PICKLE
from tests.hostile.surroundings import Surroundings
from tests.hostile.value_kinds import CannotApply

INDEX = "data.pkl"
# What a restricted unpickler must not find, and what it finds but is not made for this.
GLOBALS = (
    b"os\nsystem",
    b"posix\nsystem",
    b"builtins\neval",
    b"builtins\n__import__",
    b"subprocess\nPopen",
    b"torch\nload",
    b"torch.serialization\nload",
    b"torch._utils\n_rebuild_sparse_tensor",
    b"torch._utils\n_rebuild_qtensor",
    b"torch._utils\n_rebuild_parameter",
    b"torch._utils\n_rebuild_meta_tensor_no_storage",
    b"torch._utils\n_rebuild_wrapper_subclass",
    b"torch._tensor\n_rebuild_from_type_v2",
    b"torch\nzeros",
    b"torch\nDoubleStorage",
    b"torch\nBoolStorage",
    b"torch\nQInt8Storage",
    b"torch\nSize",
    b"torch\ndevice",
    b"collections\nCounter",
    b"collections\nOrderedDict",
    b"builtins\nbytearray",
    b"_codecs\nencode",
    b"\xff\n\xfe",
    b"\n",
)
TOUCH = b"X\x2d\x00\x00\x00touch ../elsewhere/pwned elsewhere/pwned; true"
PICKLES = (
    PICKLE,
    b"\x80\x02" + PICKLE,
    b"\x80\x02cposix\nsystem\n" + TOUCH + b"\x85R.",
    b"\x80\x02}X\x01\x00\x00\x00acbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85Rs.",
    b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00base64\x86R.",
    b"\x80\x02}.",
    b"\x80\x02N.",
    b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    b"\x80\x02" + b"(" * 1_000_000 + b".",
    b"\x80\x02]q\x00h\x00a.",
    b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    b"\x80\x02X\xff\xff\xff\x7fabc.",
    b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
    b"\x80\x02r\xff\xff\xff\x7f.",
    b"\x80\x02Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.",
    b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    b"\x80\xffN.",
    b".",
    b"",
)
NUMBERS = (0, 1, -1, 255, 65_535, 2**20, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63), 2**200)


def _is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path)


def _read(path: Path) -> dict[str, bytes]:
    if not _is_archive(path):
        raise CannotApply
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _find_index(members: dict[str, bytes]) -> str:
    name = next((name for name in members if name.endswith(INDEX)), None)
    if name is None:
        raise CannotApply
    return name


def replace_pickle(path: Path, rng: Random, around: Surroundings) -> None:
    """Put another pickle in: one that runs something, never ends, or is huge once it is read."""
    members = _read(path)
    members[_find_index(members)] = rng.choice(PICKLES)
    _write(path, members)


def damage_pickle(path: Path, rng: Random, around: Surroundings) -> None:
    """Change bytes of the pickle, in an archive whose sums are right."""
    members = _read(path)
    name = _find_index(members)
    content = bytearray(members[name])
    for _ in range(rng.choice((1, 1, 2, 10))):
        place = rng.randrange(len(content))
        change = rng.randrange(4)
        if change == 0:
            content[place] = rng.randrange(256)
        elif change == 1:
            del content[place : place + rng.choice((1, 2, 20))]
        elif change == 2:
            content[place:place] = rng.randbytes(rng.choice((1, 4)))
        else:
            content[place:place] = content[place : place + rng.choice((5, 50, 500))]
        if not content:
            break
    members[name] = bytes(content)
    _write(path, members)


def rename_globals(path: Path, rng: Random, around: Surroundings) -> None:
    """Let the pickle call or build something else."""
    members = _read(path)
    name = _find_index(members)
    content = members[name]
    found = [
        (place, str(value)) for code, value, place in pickletools.genops(content) if code.name == "GLOBAL"
    ]
    place, value = rng.choice(found)
    end = place + 1 + len(value.encode()) + 1
    members[name] = content[: place + 1] + rng.choice(GLOBALS) + b"\n" + content[end:]
    _write(path, members)


def change_counts(path: Path, rng: Random, around: Surroundings) -> None:
    """Say other numbers: of offsets, shapes, strides and lengths."""
    members = _read(path)
    name = _find_index(members)
    content = members[name]
    codes = list(pickletools.genops(content))
    places = [index for index, (code, _, _) in enumerate(codes) if code.name.startswith(("BININT", "LONG"))]
    for index in sorted(rng.sample(places, min(len(places), rng.choice((1, 1, 3)))), reverse=True):
        start = codes[index][2]
        assert start is not None
        end = codes[index + 1][2]
        content = content[:start] + _dump_number(rng.choice(NUMBERS)) + content[end:]
    members[name] = content
    _write(path, members)


def _dump_number(number: int) -> bytes:
    plain = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(plain)]) + plain


def change_members(path: Path, rng: Random, around: Surroundings) -> None:
    """Leave members out, rename, compress, repeat or lengthen them."""
    members = _read(path)
    name = rng.choice(list(members))
    change = rng.randrange(7)
    if change == 0:
        del members[name]
    elif change == 1:
        members[rng.choice(("../elsewhere/pwned", "/pwned", "a" * 5000, "", "x/data.pkl", "\x1b[2J"))] = (
            members.pop(name)
        )
    elif change == 2:
        members[name] = members[name][: rng.randrange(len(members[name]) + 1)]
    elif change == 3:
        members[name] += bytes(rng.choice((1, 100, 1 << 20)))
    elif change == 4:
        members |= {f"archive/more/{number}": b"" for number in range(20_000)}
    elif change == 5:
        members[f"{name.split('/')[0]}/constants.pkl"] = rng.choice(PICKLES)
    else:
        members[name] = bytes(50_000_000)
    _write(path, members, zipfile.ZIP_DEFLATED if change == 6 or rng.random() < 0.1 else zipfile.ZIP_STORED)


def lie_in_directory(path: Path, rng: Random, around: Surroundings) -> None:
    """Change what the archive's directory says of sizes, places and sums."""
    if not _is_archive(path):
        raise CannotApply
    content = bytearray(path.read_bytes())
    places = [at for at in range(len(content) - 46) if content[at : at + 4] == b"PK\x01\x02"]
    ends = [at for at in range(len(content) - 20) if content[at : at + 4] == b"PK\x05\x06"]
    if not places or not ends:
        raise CannotApply
    if rng.random() < 0.2:
        at, (field, form) = rng.choice(ends), rng.choice(((8, "<H"), (10, "<H"), (12, "<I"), (16, "<I")))
    else:
        # Method, sum, both sizes, lengths of the name and what follows it, and where the member lies.
        fields = (
            (8, "<H"),
            (10, "<H"),
            (16, "<I"),
            (20, "<I"),
            (24, "<I"),
            (28, "<H"),
            (30, "<H"),
            (42, "<I"),
        )
        at, (field, form) = rng.choice(places), rng.choice(fields)
    most = 2 ** (8 * struct.calcsize(form)) - 1
    value = rng.choice((0, 1, 8, most, most - 1, most // 2, rng.randrange(len(content)))) & most
    struct.pack_into(form, content, at + field, value)
    path.write_bytes(content)


def save_anew(path: Path, rng: Random, around: Surroundings) -> None:
    """Write an archive in an archive, twice in a row, or with something before it."""
    content = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    path.write_bytes(
        rng.choice((buffer.getvalue(), content + content, rng.randbytes(1000) + content, PICKLE + content))
    )


KINDS = {
    "pickle": replace_pickle,
    "pickle bytes": damage_pickle,
    "pickle globals": rename_globals,
    "pickle counts": change_counts,
    "archive members": change_members,
    "archive directory": lie_in_directory,
    "archive anew": save_anew,
}
