"""The limits of one program."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one program and its tests."""

    wall_seconds: float = 20.0
    """Time from start to verdict."""
    cpu_seconds: float = 10.0
    """Processor time of each process, rounded down to whole seconds."""
    memory_mb: int = 1024
    """Memory: as address space of each process, and as memory in use of all processes together."""
    file_mb: int = 16
    """Size of a file."""
    folder_mb: int = 64
    """Size of the work folder, where Linux namespaces are allowed."""
    num_processes: int = 8
    """Number of processes and threads at a time, in addition to the first."""

    def __post_init__(self) -> None:
        faults = [
            f"{field.name} must be positive" for field in fields(self) if not getattr(self, field.name) > 0
        ]
        faults += ["cpu_seconds must be at least 1"] if 0 < self.cpu_seconds < 1 else []
        faults += (
            ["memory_mb must be at least 64: Python itself needs that"] if 0 < self.memory_mb < 64 else []
        )
        if faults:
            raise ValueError("limits of a program: " + "; ".join(faults))
