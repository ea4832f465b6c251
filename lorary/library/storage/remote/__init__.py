"""A library on any fsspec file system other than a local disk: changes are staged, then copied into place."""
