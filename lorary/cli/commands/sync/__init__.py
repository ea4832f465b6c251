"""``lorary sync``: its options and its work."""
