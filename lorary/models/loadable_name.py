"""The name of a base model by which other packages can load it."""

from pathlib import Path

from lorary.models.embedded import HUB_ID, NAME


def find_loadable_name(name: str) -> str:
    """Return a hub id, or the whole path of a folder, for a base model's name.

    Args:
        name: ``"smollm2-135m"``, whose hub id is returned; a folder; or a hub id, which is returned as it is.
    """
    if name == NAME:
        return HUB_ID
    try:
        is_folder = Path(name).is_dir()
    except (OSError, ValueError):
        return name
    return str(Path(name).resolve()) if name and is_folder else name
