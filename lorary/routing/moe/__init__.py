"""The mixture-of-experts router: its scores, its choice, and the module of a layer."""

__all__: list[str] = []
