"""What a run keeps on disk: its identity, the saved state, finished units, and the lock that it holds."""
