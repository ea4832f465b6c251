"""``lorary extract``: its options and its work."""
