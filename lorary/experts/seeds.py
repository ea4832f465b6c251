"""Seeds of the parts of a run, from the run's own seed."""

from hashlib import sha256


def seed_for(seed: int, name: str) -> int:
    """Combine a run's seed with a unit's name, so that a unit starts alike alone and among others."""
    return int.from_bytes(sha256(f"{seed}-{name}".encode()).digest()[:7], "big")
