"""The code that runs inside the sandbox, in separate processes; it imports only Python's own library."""

__all__: list[str] = []
