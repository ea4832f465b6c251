"""``lorary cluster``: its options and its work."""
