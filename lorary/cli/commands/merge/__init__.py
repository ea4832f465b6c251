"""Parts of ``lorary merge``: the recipe it follows, the place it writes to, and what it says."""
