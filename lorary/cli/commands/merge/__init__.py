"""``lorary merge``: its options, its recipe, the place of the result and the report."""
