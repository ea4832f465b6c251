"""A routed model's folder: what is in it, and reading it back.

``lorary_model.json`` says which base model, router, experts and versions; ``experts/`` is a library, with the
artifacts that the router is built from; ``material.safetensors`` holds what only data could tell; ``base/``,
if it is there, is the base model as ``transformers`` saves it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lorary.errors import FormatError, IncompatibleExpert
from lorary.files import dump_json_object, read_json_object
from lorary.library import Library

MODEL_FILE = "lorary_model.json"
EXPERTS = "experts"
BASE = "base"
MATERIAL_FILE = "material.safetensors"
VERSION = 1
DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
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
}


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """What ``lorary_model.json`` says."""

    base_model: str
    """The base model's name."""
    base_revision: str | None
    """Its commit on the hub, where there is one."""
    base_fingerprint: str
    """Hash of its weights and settings."""
    dtype: str
    """Of its weights, such as ``bfloat16``."""
    has_base: bool
    """Whether the base model is in the folder too."""
    router: str | None
    """Who routes; None for nobody."""
    options: Mapping[str, Any]
    """All options of the router."""
    combine: str
    """How experts are put together, see ``mix``."""
    experts: Mapping[str, str]
    """Expert -> SHA-256 of its weights file."""
    material_sha256: str | None
    """SHA-256 of ``material.safetensors``; None if there is none."""
    has_encoder: bool
    """Whether embeddings were made by an encoder of texts, which is not in the folder."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version that saved the model."""

    def dump(self) -> bytes:
        """Write ``lorary_model.json``."""
        return dump_json_object({"lorary_model": VERSION, **asdict(self)})


def is_saved_model(place: str | Path) -> bool:
    """Tell whether a place is the folder of a routed model."""
    return (Path(place) / MODEL_FILE).is_file()


def read_saved_model(folder: str | Path) -> SavedModel:
    """Read what a routed model's folder says of itself.

    Raises:
        FormatError: if it is no such folder, damaged, or of a newer format.
    """
    path = Path(folder) / MODEL_FILE
    try:
        found = read_json_object(LocalFileSystem(), str(path))
    except FileNotFoundError:
        raise FormatError(
            f"{str(folder)!r} holds no routed model, {MODEL_FILE} is missing: build one with `lorary build`"
        ) from None
    version = found.pop("lorary_model", None)
    if version != VERSION:
        raise FormatError(
            f"{str(path)!r} must be of format {VERSION}, found {version!r}: load it with the version of "
            "lorary that saved it"
        )
    known = {entry.name for entry in fields(SavedModel)}
    if found.keys() != known:
        wrong = sorted(found.keys() ^ known)
        raise FormatError(f"{str(path)!r} must have {sorted(known)}, missing or unknown: {wrong}")
    _check_values(str(path), found)
    return SavedModel(**found)


def _check_values(path: str, found: Mapping[str, Any]) -> None:
    """Refuse values of a file from outside that are not what they should be."""
    for name, kind in KINDS.items():
        if not isinstance(found[name], kind):
            raise FormatError(f"{path!r} has {name} {found[name]!r}: fetch it or build the model again")
    for name in ("experts", "versions"):
        if not all(isinstance(value, str) for value in found[name].values()):
            raise FormatError(f"{path!r} must have texts as values of {name}, found {found[name]!r}")
    if found["dtype"] not in DTYPES:
        raise FormatError(f"{path!r} must have one of the dtypes {list(DTYPES)}, found {found['dtype']!r}")


def open_saved_experts(folder: str | Path, saved: SavedModel) -> Library:
    """Open the library of a routed model's folder.

    Raises:
        LibraryError: if there is none.
        FormatError: if an expert's file is damaged.
        IncompatibleExpert: if its experts are not those that were saved.
    """
    library = Library.open(str(Path(folder) / EXPERTS))
    problems = library.verify()
    if problems:
        raise FormatError(f"{problems[0]}: build the model again")
    found = library.weight_hashes()
    for name in sorted(found.keys() | saved.experts.keys()):
        if found.get(name) != saved.experts.get(name):
            raise IncompatibleExpert(
                f"expert {name!r} in {library.url!r} is not the one that was saved with this model: "
                "build the model again"
            )
    return library


def read_material(folder: str | Path, saved: SavedModel) -> dict[str, dict[str, Tensor]]:
    """Read what only data could tell.

    Returns:
        ``"means"`` and ``"gates"`` -> module path -> ``[E, I]``; ``"embeddings"`` -> expert -> ``[N, D]``;
        what was not saved is left out.

    Raises:
        FormatError: if the file is missing or not the one that was saved.
    """
    if saved.material_sha256 is None:
        return {}
    path = Path(folder) / MATERIAL_FILE
    try:
        content = path.read_bytes()
        if sha256(content).hexdigest() != saved.material_sha256:
            raise FormatError(f"{str(path)!r} is not what was saved: build the model again")
        tensors = load(content)
    except (FileNotFoundError, SafetensorError) as error:
        raise FormatError(f"{str(path)!r} cannot be read ({error}): build the model again") from error
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        field_name, _, rest = key.partition("/")
        found.setdefault(field_name, {})[rest] = tensor
    return found
