"""Commands on data: what is understood of a file."""
