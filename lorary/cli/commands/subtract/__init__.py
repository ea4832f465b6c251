"""``lorary subtract``: its options and its work."""
