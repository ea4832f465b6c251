"""``lorary export``: its options and its work."""
