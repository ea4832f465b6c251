"""The files of a run: its identity, the saved state, finished units, and its lock."""
