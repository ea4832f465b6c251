"""Collecting the keys of a recipe that have no effect, while it is read."""

from collections.abc import Iterable


class Ignored:
    """Ignored keys, by the reason why they have no effect."""

    def __init__(self) -> None:
        """Make an empty collection."""
        self._found: dict[str, list[str]] = {}

    def note(self, key: str, reason: str) -> None:
        """Add an ignored key, if it is not known yet."""
        keys = self._found.setdefault(reason, [])
        if key not in keys:
            keys.append(key)

    def list_all(self) -> tuple[str, ...]:
        """Return one sentence for each reason."""
        return tuple(f"{', '.join(keys)}: {reason}" for reason, keys in self._found.items())


def join_ignored(*lists: Iterable[str]) -> tuple[str, ...]:
    """Join lists of such sentences, without duplicates."""
    return tuple(dict.fromkeys(sentence for sentences in lists for sentence in sentences))
