"""The blocks of a model, found by the numbers in module paths."""

from collections.abc import Iterable


def find_block(path: str) -> str | None:
    """Return the path of a module's block: ``model.layers.3`` for ``model.layers.3.mlp.up_proj``.

    It ends with the first number of the path; None if the path has none.
    """
    parts = path.split(".")
    return next((".".join(parts[: place + 1]) for place, part in enumerate(parts) if part.isdigit()), None)


def list_blocks(paths: Iterable[str]) -> list[str]:
    """List the blocks of some modules, by their numbers; modules outside of blocks are left out."""
    found = dict.fromkeys(block for path in paths if (block := find_block(path)) is not None)
    return sorted(found, key=lambda block: int(block.rpartition(".")[2]))
