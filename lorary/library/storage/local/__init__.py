"""A library on a local disk: changes are staged, recorded in a journal, and published by moves."""
