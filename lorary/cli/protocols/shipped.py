"""Find protocols: those that come with lorary, by name, and a user's own, by path."""

from pathlib import Path

from lorary.cli.protocols.protocol import Protocol
from lorary.cli.protocols.read_protocol import read_protocol
from lorary.errors import suggest
from lorary.files import quote

FOLDER = Path(__file__).parent
SUFFIXES = (".yaml", ".yml")


def list_shipped() -> dict[str, Path]:
    """List the protocols that come with lorary: name -> file."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find_protocol(place: str) -> Protocol:
    """Read a protocol by its name, or from the user's own file.

    Raises:
        ValueError: if there is none.
        FormatError: if a file is not a protocol.
    """
    shipped = list_shipped()
    path = Path(place)
    if place in shipped:
        return read_protocol(shipped[place], place)
    if path.suffix in SUFFIXES and path.exists():
        return read_protocol(path, path.stem)
    if path.suffix in SUFFIXES:
        raise ValueError(f"there is no protocol file {quote(place)}: check the path")
    raise ValueError(
        f"there is no protocol {quote(place, 60)}, and it is not a file that ends in .yaml: "
        f"{suggest(place[:100], shipped)}"
    )
