"""``lorary subtract``: its options, and what it does."""
