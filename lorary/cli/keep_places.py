"""An option whose value is read later."""

import argparse
from typing import Any


class KeepPlaces(argparse.Action):
    """Takes words from the command line, and whatever a YAML file has: a list, or a mapping by name."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Keep the value as it is."""
        setattr(namespace, self.dest, values)
