"""How a library's files are read and changed: one contract, a storage for each kind of place."""
