"""``lorary prototypes``: its options, and what it does."""
