"""Check the values in a saved model's ``lorary_model.json``."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lorary.assembly.folder_files import AGAIN, is_beneath
from lorary.errors import FormatError, UnknownExpert
from lorary.experts import check_name
from lorary.experts.base_fingerprint import PATTERN
from lorary.files import escape, quote
from lorary.models import COMBINES
from lorary.models.quantized.configs import QUANTIZATIONS
from lorary.routing import ROUTERS, configure_router

DTYPE_NAMES = ("float16", "bfloat16", "float32", "float64")
# JSON values that each field may have.
KINDS = {
    "base_model": str,
    "base_revision": str | None,
    "base_fingerprint": str,
    "dtype": str,
    "has_base": bool,
    "router": str | None,
    "options": dict,
    "combine": str,
    "experts": dict,
    "material_sha256": str | None,
    "has_encoder": bool,
    "versions": dict,
    "skills": list | None,
    "general": str | None,
    "quantization": str | None,
    "files": dict | None,
}
LONGEST_NAME = 4096
_HASH = re.compile("[0-9a-f]{64}")


def check_values(path: str, found: Mapping[str, Any]) -> None:
    """Refuse invalid values in an untrusted file.

    Args:
        path: the file, for messages.
        found: its content; ``skills``, ``general``, ``quantization`` and ``files`` may be missing.

    Raises:
        FormatError: naming the first few fields and their values.
    """
    faults = [
        f"{name} {quote(found.get(name), 60)}"
        for name, kind in KINDS.items()
        if not isinstance(found.get(name), kind)
    ]
    faults = faults or [f"{name} {quote(value, 60)}" for name, value in _find_wrong(found)]
    if faults:
        raise FormatError(f"{quote(path)} must not have {', '.join(faults[:5])}: {AGAIN}")
    fault = _find_router_fault(found)
    if fault:
        raise FormatError(
            f"{quote(path)} has options that do not work, {escape(fault, longest=500)}: {AGAIN}"
        )


def _find_wrong(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    choices = {
        "dtype": DTYPE_NAMES,
        "combine": COMBINES,
        "router": (None, *ROUTERS),
        "quantization": (None, *QUANTIZATIONS),
    }
    for name, known in choices.items():
        if found.get(name) not in known:
            yield name, found[name]
    for name in ("base_model", "base_revision"):
        if found[name] is not None and not (len(found[name]) <= LONGEST_NAME and found[name].isprintable()):
            yield name, found[name]
    if not PATTERN.fullmatch(found["base_fingerprint"]):
        yield "base_fingerprint", found["base_fingerprint"]
    if found["material_sha256"] is not None and not _HASH.fullmatch(found["material_sha256"]):
        yield "material_sha256", found["material_sha256"]
    if not found["experts"]:
        yield "experts", found["experts"]
    for name, digest in found["experts"].items():
        if not _is_name(name) or not _is_hash(digest):
            yield f"experts: {quote(name, 60)}", digest
    if found.get("general") not in (None, *found["experts"]):
        yield "general", found["general"]
    for name in found.get("skills") or []:
        if name not in found["experts"]:
            yield "skills", name
    for name, digest in (found.get("files") or {}).items():
        if not is_beneath(name) or not _is_hash(digest):
            yield f"files: {quote(name, 60)}", digest
    for name, version in found["versions"].items():
        if not isinstance(version, str):
            yield f"versions: {quote(name, 60)}", version


def _find_router_fault(found: Mapping[str, Any]) -> str | None:
    if found["router"] is None:
        return f"without a router: {quote(found['options'])}" if found["options"] else None
    names = sorted(found["experts"].keys() - set(found.get("skills") or []))
    try:
        configure_router(found["router"], found["options"]).check(names)
    except (ValueError, UnknownExpert) as error:
        return str(error)
    return None


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name, is_stored=True))
    except ValueError:
        return False


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
