"""``lorary prototypes``: its options and its work."""
