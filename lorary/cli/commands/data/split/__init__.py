"""``lorary data split``."""

__all__: list[str] = []
