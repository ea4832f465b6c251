"""A library on any file system that fsspec knows: changes are staged, then copied into place."""
