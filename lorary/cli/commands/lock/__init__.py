"""``lorary lock``: its options and its work."""
