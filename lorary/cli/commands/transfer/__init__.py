"""``lorary transfer``: its options and its work."""
