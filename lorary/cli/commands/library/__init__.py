"""The commands of ``lorary library``: each works on one library, given by its folder or URL."""
