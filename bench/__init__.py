"""Measurements of lorary and its peers, side by side in one run; see ``bench/README.md``."""
