"""``lorary build``: its options, and what it does."""
