"""One merging method per file, each a function of one layer; ``table`` knows them by name."""
