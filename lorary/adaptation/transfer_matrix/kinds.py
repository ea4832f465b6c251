"""The kinds of starts of a transfer matrix, besides the controls."""

START_KINDS = {
    "experts": "every expert",
    "clusters": "the mean of each cluster of similar experts",
    "general": "the mean of all experts",
}
"""Kind -> what it is, for help texts."""
