"""A merge said in full: as a value, as a file, and worked out for each layer."""
