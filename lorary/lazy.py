"""Names of a room that are loaded when first used, so that its light files can be imported alone."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def load_lazily(package: str, files: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package.

    Args:
        package: its name.
        files: public name -> the module below the package that has it.
    """

    def load(name: str) -> Any:
        if name not in files:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{files[name]}"), name)

    return load
