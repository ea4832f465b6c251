"""What ``lorary eval`` does around the evaluation itself: its experts and routes, its tables."""

__all__: list[str] = []
