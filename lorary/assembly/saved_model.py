"""A routed model's folder: its contents, and reading it.

``lorary_model.json`` names the base model, the router, the experts, the versions, and the hash of every other
file; ``experts/`` is a library, with the artifacts that the router is built from; ``material.safetensors``
has the facts that need data; ``base/``, if it exists, is the base model as ``transformers`` saves it. Folders
of earlier versions lack the hashes of files: there, only weights and material have one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from errno import ENAMETOOLONG
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lorary.assembly.folder_files import AGAIN, EXPERTS, check_files, refuse_links
from lorary.assembly.saved_values import DTYPE_NAMES, check_values
from lorary.errors import FormatError, IncompatibleExpert
from lorary.facts.given import is_joint, list_givable
from lorary.files import dump_json, escape, parse_json_object, quote, read_at_most
from lorary.library import Library

SEAL = "sha256"
MODEL_FILE = "lorary_model.json"
MATERIAL_FILE = "material.safetensors"
VERSION = 1
OPTIONAL = ("skills", "general", "quantization")
"""Fields that the file lacks if they are None."""
DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """The content of ``lorary_model.json``."""

    base_model: str
    """The base model's name."""
    base_revision: str | None
    """Its commit on the hub, if there is one."""
    base_fingerprint: str
    """Hash of its weights and settings."""
    dtype: str
    """Of its weights, such as ``bfloat16``."""
    has_base: bool
    """Whether the base model is in the folder too."""
    router: str | None
    """The router; None for the base model alone."""
    options: Mapping[str, Any]
    """All options of the router."""
    combine: str
    """How experts are combined, see ``mix``."""
    experts: Mapping[str, str]
    """Expert -> SHA-256 of its weights file."""
    material_sha256: str | None
    """SHA-256 of ``material.safetensors``; None if there is none."""
    has_encoder: bool
    """Whether embeddings were made by an encoder of texts, which is not in the folder."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version that saved the model."""
    skills: Sequence[str] | None = None
    """Names of the experts that are skills, which only tasks use; None if the model has no tasks."""
    general: str | None = None
    """Name of the general expert; None if the model has none."""
    quantization: str | None = None
    """The name of the quantisation with which the base model is loaded; None for none."""
    files: Mapping[str, str] | None = None
    """Path of each other file in the folder -> its SHA-256; None in folders of earlier versions."""

    def dump(self) -> bytes:
        """Write ``lorary_model.json``, with a hash of itself."""
        content = {"lorary_model": VERSION, **asdict(self)}
        for name in OPTIONAL:
            if content[name] is None:
                del content[name]  # as in earlier versions, which can load such a folder
        return dump_json({**content, SEAL: _hash_content(content)}).encode()


def _hash_content(content: dict[str, Any]) -> str:
    # Of the text that earlier versions wrote.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return sha256(text.encode()).hexdigest()


def is_saved_model(place: str | Path) -> bool:
    """Return whether a place is the folder of a routed model."""
    path = Path(place) / MODEL_FILE
    try:
        return path.is_file() and not path.is_symlink()
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            return False
        raise


def read_saved_model(folder: str | Path) -> SavedModel:
    """Read the description of a routed model from its folder.

    Raises:
        FormatError: if it is not such a folder, damaged, or of a newer format; or if a
            value or an option of the router is invalid.
    """
    path = Path(folder) / MODEL_FILE
    found = parse_json_object(_read(path), str(path), AGAIN)
    version = found.get("lorary_model")
    if type(version) is not int or version != VERSION:
        raise FormatError(
            f"{quote(str(path))} must be of format {VERSION}, found {quote(version)}: load it with the "
            "version of lorary that saved it"
        )
    # Folders of earlier versions have none.
    seal = found.pop(SEAL, None)
    if seal is not None and seal != _hash_content(found):
        raise FormatError(f"{quote(str(path))} is not what was saved, its SHA-256 differs: {AGAIN}")
    del found["lorary_model"]
    known = {entry.name for entry in fields(SavedModel)}
    wrong = sorted((found.keys() | {"files", *OPTIONAL}) ^ known)
    if wrong:
        raise FormatError(f"{quote(str(path))} must have {sorted(known)}, missing or unknown: {quote(wrong)}")
    check_values(str(path), found)
    return SavedModel(**found)


def _read(path: Path) -> bytes:
    try:
        return read_at_most(path, follow=False)
    except FileNotFoundError:
        raise FormatError(
            f"{quote(str(path.parent))} is not a routed model, {MODEL_FILE} is missing: build one with "
            "`lorary build`"
        ) from None
    except OSError as error:
        raise FormatError(f"{quote(str(path))} must be a readable file, not a link: {AGAIN}") from error


def open_saved_experts(folder: str | Path, saved: SavedModel) -> Library:
    """Open the library of a routed model's folder, and check every file there.

    Raises:
        LibraryError: if there is none.
        FormatError: if a file of the folder is damaged, missing, or was added where files are read.
        IncompatibleExpert: if its experts are not those that were saved.
    """
    refuse_links(Path(folder))
    library = Library.open(str(Path(folder) / EXPERTS))
    problems = library.verify()
    if problems:
        raise FormatError(f"{escape(str(problems[0]), longest=600)}: build the model again")
    found = library.weight_hashes()
    for name in sorted(found.keys() | saved.experts.keys()):
        if found.get(name) != saved.experts.get(name):
            raise IncompatibleExpert(
                f"expert {quote(name)} in {quote(library.url)} is not the one that was saved with this "
                "model: build the model again"
            )
    if saved.files is not None:
        check_files(Path(folder), saved.files)
    return library


def read_material(folder: str | Path, saved: SavedModel) -> dict[str, dict[str, Tensor]]:
    """Read the facts that need data.

    Returns:
        Fact -> module path -> ``[E, I]``, or expert -> ``[N, D]``, or for a fact of several experts together
        its tensors by name; facts that were not saved are left out.

    Raises:
        FormatError: if the file is missing or not the one that was saved.
    """
    if saved.material_sha256 is None:
        return {}
    path = Path(folder) / MATERIAL_FILE
    try:
        content = read_at_most(path, "material_mb", follow=False)
        if sha256(content).hexdigest() != saved.material_sha256:
            raise FormatError(f"{quote(str(path))} is not what was saved: build the model again")
        tensors = load(content)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{quote(str(path))} cannot be read ({error}): build the model again") from error
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        field_name, _, rest = key.partition("/")
        dtypes = [*DTYPES.values(), *([torch.uint8] if is_joint(field_name) else [])]
        if field_name not in list_givable() or tensor.dtype not in dtypes:
            raise FormatError(
                f"{quote(str(path))} must have {', '.join(list_givable())} as floating-point numbers, found "
                f"{quote(key)} in {tensor.dtype}: build the model again"
            )
        found.setdefault(field_name, {})[rest] = tensor
    return found
