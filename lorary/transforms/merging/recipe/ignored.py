"""What a recipe says that changes nothing, collected while it is read."""

from collections.abc import Iterable


class Ignored:
    """Reasons, each with the keys it is about."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._found: dict[str, list[str]] = {}

    def note(self, key: str, reason: str) -> None:
        """Remember a key that is ignored, once."""
        keys = self._found.setdefault(reason, [])
        if key not in keys:
            keys.append(key)

    def list_all(self) -> tuple[str, ...]:
        """Give one sentence for each reason."""
        return tuple(f"{', '.join(keys)}: {reason}" for reason, keys in self._found.items())


def join_ignored(*lists: Iterable[str]) -> tuple[str, ...]:
    """Put lists of such sentences into one, each once."""
    return tuple(dict.fromkeys(sentence for sentences in lists for sentence in sentences))
