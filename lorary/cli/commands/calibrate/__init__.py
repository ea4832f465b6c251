"""``lorary calibrate``: its options and its work."""
