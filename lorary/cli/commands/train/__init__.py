"""``lorary train``: its options, its plan, the storing of experts and its report."""

__all__: list[str] = []
