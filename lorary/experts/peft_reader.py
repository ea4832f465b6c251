"""Reading PEFT adapter folders as experts."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from lorary.errors import FormatError
from lorary.experts.adapter_layout import Recipe, find_kinds, lay_out_adapter
from lorary.experts.card import ExpertCard
from lorary.experts.expert import Expert, check_finite
from lorary.experts.names import check_name
from lorary.experts.peft_config import CONFIG_FILE, AdapterConfig, parse_adapter_config
from lorary.experts.peft_features import check_features, check_peft_type
from lorary.experts.pickled_weights import PICKLE_FILES, load_pickled
from lorary.experts.sidecar import SIDECAR_FILE, Sidecar, parse_sidecar
from lorary.experts.stored_factors import StoredFactors
from lorary.experts.stored_parts import StoredParts
from lorary.experts.weights_file import (
    WEIGHTS_FILE,
    StoredTensors,
    dump_tensors,
    load_tensors,
    read_tensors,
)
from lorary.files import parse_json_object, quote, read_at_most
from lorary.files.regular import refuse_loops


def read_peft(
    folder: str | os.PathLike[str], name: str | None = None, *, base_model: str | None = None
) -> Expert:
    """Read a PEFT adapter as an expert.

    LoRA's factors are in ``factors``. Other changes, such as DoRA's magnitudes or whole weights, are
    in ``parts``. Its modules are those in the weights file; the configuration's ``target_modules`` is not
    used.

    Args:
        folder: a path, or a URL for fsspec; local weights are memory-mapped.
        name: the expert's name; None for the name in ``expert.json``, or else the folder's name.
        base_model: the expert's base model; None for the adapter's. A given one replaces the adapter's base
            model, revision and fingerprint.

    Returns:
        The expert, with the scale folded into each ``b``. If the scale is a power of two, factors have the
        file's dtype; otherwise ``b`` is float32, so that it is not rounded.

    Raises:
        FormatError: if a file is missing or damaged, or files contradict each other.
        UnsupportedAdapter: if the adapter has a feature that an expert cannot represent exactly.
        OSError: if the system cannot read a file.
        ValueError: if the name is not safe.
    """
    if name is not None:
        check_name(name)
    fs, path = url_to_fs(os.fspath(folder))
    expert = read_expert_folder(fs, path, name)
    check_finite(expert)
    return expert if base_model is None else expert.with_base(base_model)


def read_expert_folder(fs: AbstractFileSystem, path: str, name: str | None = None) -> Expert:
    """Read a PEFT adapter from a file system, except its weights.

    The weights are read, and checked to be finite, at the first access to factors. Everything else is checked
    now, as in ``read_peft``.
    """
    return build_expert(open_adapter(fs, path), name)


class OpenedAdapter(NamedTuple):
    """The files of an adapter's folder, not parsed."""

    path: str
    """Path of the folder, for messages."""
    config: bytes
    """Content of ``adapter_config.json``."""
    sidecar: bytes | None
    """Content of ``expert.json``, if there is one."""
    weights: StoredTensors
    """Tensors of ``adapter_model.safetensors``, or of a file by ``torch.save``."""


def open_adapter(fs: AbstractFileSystem, path: str) -> OpenedAdapter:
    """Read the small files of an adapter's folder and map its weights.

    Raises:
        FormatError: if a file is missing, too large or not a regular file, or the weights are neither
            safetensors nor tensors by ``torch.save``.
        OSError: if the system cannot read a file.
    """
    _check_files(fs, path)
    config = read_at_most(f"{path}/{CONFIG_FILE}", fs=fs)
    return OpenedAdapter(path, config, _read_sidecar(fs, path), _read_weights(fs, path))


def _read_weights(fs: AbstractFileSystem, path: str) -> StoredTensors:
    """Read the safetensors file of an adapter, or else its file by ``torch.save``."""
    file = next(
        file for file in (WEIGHTS_FILE, *PICKLE_FILES) if _find_kind(fs, f"{path}/{file}") is not None
    )
    if file == WEIGHTS_FILE:
        return read_tensors(fs, f"{path}/{file}")
    tensors = load_pickled(read_at_most(f"{path}/{file}", "weights_mb", fs=fs), f"{path}/{file}")
    return load_tensors(dump_tensors(tensors), f"{path}/{file}")


def build_expert(opened: OpenedAdapter, name: str | None = None) -> Expert:
    """Parse the files of an adapter; its weights are read later, at the first access to factors.

    Args:
        opened: files of its folder.
        name: the expert's name; None for the name in ``expert.json``, or else the folder's name.

    Raises:
        FormatError: if a file is damaged, or files contradict each other.
        UnsupportedAdapter: if the adapter has a feature that an expert cannot represent exactly.
    """
    path, weights = opened.path, opened.weights
    config_path, weights_path = f"{path}/{CONFIG_FILE}", f"{path}/{WEIGHTS_FILE}"
    raw = parse_json_object(opened.config, config_path)
    check_peft_type(raw, config_path)
    check_features(raw, find_kinds(weights.layout), path)
    config = parse_adapter_config(raw, config_path)
    layout = lay_out_adapter(Recipe(weights.layout, config, weights_path))
    known = _parse_sidecar(opened.sidecar, path) or _card_from_config(config, path)
    _check_config_hash(opened.config, known.config_sha256, config_path)
    own_name = check_name(known.name if name is None else name, is_stored=True)
    factors = StoredFactors(weights, layout, name=own_name, file=weights_path, sha256=known.weights_sha256)
    card = replace(known.card, fan_in_fan_out=config.fan_in_fan_out, task_type=config.task_type)
    if layout.repaired:
        warnings.warn(
            f"adapter {quote(path)}: names such as {quote(layout.repaired, 100)} are read without the names "
            "of wrappers of training",
            stacklevel=2,
        )
    parts = StoredParts(factors, config) if layout.part_names else {}
    return Expert(own_name, known.base_model, factors, card, parts)


def read_card(fs: AbstractFileSystem, path: str) -> Sidecar:
    """Read the metadata of an expert in a folder, without opening its weights.

    Args:
        fs: the file system.
        path: path of the expert's folder.

    Returns:
        The sidecar; for a folder by PEFT, the metadata of its configuration, without hashes and summary.

    Raises:
        FormatError: if the folder is not an adapter's, or a file is damaged.
    """
    known = _parse_sidecar(_read_sidecar(fs, path), path)
    if known is not None:
        return known
    _check_files(fs, path)
    config_path = f"{path}/{CONFIG_FILE}"
    raw = parse_json_object(read_at_most(config_path, fs=fs), config_path)
    check_peft_type(raw, config_path)
    return _card_from_config(parse_adapter_config(raw, config_path), path)


def _check_files(fs: AbstractFileSystem, path: str) -> None:
    kind = _find_kind(fs, path)
    if kind != "directory":
        found = "nothing" if kind is None else "a file"
        raise FormatError(
            f"{quote(path)} must be a PEFT adapter folder, found {found}: check the path; the path of a "
            "repository on the hub is 'hf://user/repository'"
        )
    missing = [file for file in (CONFIG_FILE, WEIGHTS_FILE) if _find_kind(fs, f"{path}/{file}") is None]
    if WEIGHTS_FILE in missing and any(_find_kind(fs, f"{path}/{file}") for file in PICKLE_FILES):
        missing.remove(WEIGHTS_FILE)
    if missing:
        raise explain_missing(path, missing)


def _find_kind(fs: AbstractFileSystem, path: str) -> str | None:
    """Return ``"file"``, ``"directory"`` or another type of fsspec; None if the path does not exist."""
    try:
        with refuse_loops(path):
            return str(fs.info(path)["type"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def explain_missing(path: str, missing: Sequence[str]) -> FormatError:
    """Return an error about missing files of an adapter's folder.

    Args:
        path: path of the folder.
        missing: names of the files.
    """
    return FormatError(
        f"adapter {quote(path)} must have {CONFIG_FILE} and {WEIGHTS_FILE}, missing: {', '.join(missing)}: "
        "save or download the adapter again"
    )


def _read_sidecar(fs: AbstractFileSystem, path: str) -> bytes | None:
    try:
        return read_at_most(f"{path}/{SIDECAR_FILE}", fs=fs)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parse_sidecar(content: bytes | None, path: str) -> Sidecar | None:
    if content is None:
        return None
    sidecar_path = f"{path}/{SIDECAR_FILE}"
    return parse_sidecar(parse_json_object(content, sidecar_path), sidecar_path)


def _check_config_hash(content: bytes, expected: str | None, path: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if expected not in (None, found):
        raise FormatError(
            f"{quote(path)} has changed since it was stored: {SIDECAR_FILE} has SHA-256 {expected}, found "
            f"{found}: restore the file, add the expert again, or, if you changed it on purpose, remove "
            f"'config_sha256' from {SIDECAR_FILE}"
        )


def _card_from_config(config: AdapterConfig, path: str) -> Sidecar:
    card = ExpertCard(
        base_revision=config.revision, fan_in_fan_out=config.fan_in_fan_out, task_type=config.task_type
    )
    return Sidecar(path.rsplit("/", 1)[-1], config.base_model, card, None, None)
