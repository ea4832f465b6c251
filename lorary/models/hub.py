"""Where a hub model is on this machine, found out without waiting for a hub that cannot be reached."""

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import get_session

PATIENCE_S = 3.0


class HubModel(NamedTuple):
    """What ``transformers`` is to load for a hub id."""

    source: str
    """The id itself, or the folder of an earlier download."""
    commit: str | None
    """Which commit that folder is; None for an id."""


def locate_hub_model(name: str, revision: str | None) -> HubModel:
    """Find out whether the hub is reachable, or an earlier download must be used.

    Given the id without a network, ``huggingface_hub`` would try again and again for a minute.

    Args:
        name: a hub id.
        revision: a commit, branch or tag.

    Raises:
        FileNotFoundError: if the hub is silent and the model was not downloaded before.
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
    # Each version of huggingface_hub has another HTTP library, so its errors have no name to catch them by.
    except Exception:
        return False
    return True
