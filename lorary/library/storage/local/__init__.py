"""A library on a local disk: changes are staged, written down in a journal, and published by moves."""
