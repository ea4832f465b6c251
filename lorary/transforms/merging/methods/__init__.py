"""One merging method per file, each a function of one layer; ``table`` lists them by name."""
