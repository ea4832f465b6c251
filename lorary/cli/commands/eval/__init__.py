"""``lorary eval``: its options, its work and its tables."""

__all__: list[str] = []
