"""``lorary report``: its options, its measurements and its page."""

__all__: list[str] = []
