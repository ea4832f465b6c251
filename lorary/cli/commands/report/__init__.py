"""What ``lorary report`` does before it draws."""

__all__: list[str] = []
