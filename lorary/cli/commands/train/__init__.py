"""What ``lorary train`` does around the training itself: its plan, its storing, its report."""

__all__: list[str] = []
