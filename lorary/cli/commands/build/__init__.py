"""``lorary build``: its options and its work."""
