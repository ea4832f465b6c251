"""``lorary cluster``: its options, and what it does."""
