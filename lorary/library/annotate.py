"""Changing the descriptive fields of an expert's card: tags, description and role. No weights are read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorary.errors import LibraryError
from lorary.experts.folder import CARD_FILE
from lorary.experts.model_card import render_model_card
from lorary.experts.peft_reader import build_expert
from lorary.experts.sidecar import SIDECAR_FILE, parse_sidecar
from lorary.files import dump_json, parse_json_object, quote
from lorary.library.entry import ADVICE
from lorary.library.open_expert import open_expert
from lorary.library.storage.contract import Puts, Storage, Stored


def annotate_as(storage: Storage, name: str, changes: Mapping[str, Any]) -> Puts:
    """Return the puts of a commit that changes fields of an expert's card.

    Args:
        storage: the library's storage.
        name: the expert's name.
        changes: field of the card -> its new value, as JSON.

    Raises:
        LibraryError: if the expert has no ``expert.json``, as a plain PEFT adapter that was copied in.
        FormatError: if its small files are invalid.
    """
    path = f"{name}/{SIDECAR_FILE}"
    content = storage.read_many([path])[path]
    if isinstance(content, FileNotFoundError | NotADirectoryError):
        raise LibraryError(
            f"expert {quote(name)} of library {quote(storage.url)} is a plain PEFT adapter without a card: "
            "store it again, as in library[name] = library[name], or by `lorary library add`"
        )
    if isinstance(content, Exception):
        raise content
    sidecar = {**parse_json_object(content, storage.path(path), ADVICE), **changes}
    card = parse_sidecar(sidecar, storage.path(path)).card
    expert = replace(build_expert(open_expert(storage, name), name), card=card)
    return {
        name: Stored(name),
        path: dump_json(sidecar).encode(),
        f"{name}/{CARD_FILE}": render_model_card(expert).encode(),
    }
