"""What runs inside the sandbox, in processes of its own: it imports nothing but Python's own library."""

__all__: list[str] = []
