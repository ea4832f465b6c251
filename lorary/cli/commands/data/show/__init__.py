"""``lorary data show``: its options and its work."""
