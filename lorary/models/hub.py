"""Locating a hub model: at the hub if it answers quickly, otherwise among earlier downloads."""

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import get_session

PATIENCE_S = 3.0


class HubModel(NamedTuple):
    """The source from which ``transformers`` loads a hub id."""

    source: str
    """The id itself, or the folder of an earlier download."""
    commit: str | None
    """The commit of that folder; None for an id."""


def locate_hub_model(name: str, revision: str | None) -> HubModel:
    """Return the hub id if the hub answers, otherwise the folder of an earlier download.

    Without a network, ``huggingface_hub`` would retry for a minute.

    Args:
        name: a hub id.
        revision: a commit, branch or tag.

    Raises:
        FileNotFoundError: if the hub does not answer and the model was not downloaded before.
    """
    if _is_hub_reachable():
        return HubModel(name, None)
    try:
        folder = snapshot_download(name, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{constants.ENDPOINT} does not answer, and the model was not downloaded before"
        ) from error
    return HubModel(folder, Path(folder).name)


def _is_hub_reachable() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    # The HTTP library, and so the type of its errors, depends on huggingface_hub's version.
    except Exception:
        return False
    return True
