"""``lorary run``: its options, the plan of a protocol, and its stages."""

__all__: list[str] = []
