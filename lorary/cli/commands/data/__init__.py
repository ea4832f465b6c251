"""The commands of ``lorary data``."""
