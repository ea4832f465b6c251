"""Merge recipes: the complete description of a merge, its file format, and its settings for each layer."""
