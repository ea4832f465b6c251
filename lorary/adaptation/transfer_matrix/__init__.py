"""The transfer matrix: every expert, and merges of experts, as a start for every new task."""
