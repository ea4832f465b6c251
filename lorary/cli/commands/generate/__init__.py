"""``lorary generate``: its options, its work and the display of the routing."""
