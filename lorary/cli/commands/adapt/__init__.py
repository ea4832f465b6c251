"""``lorary adapt``: its options and its work."""
