"""An option whose value is parsed later."""

import argparse
from typing import Any


class KeepPlaces(argparse.Action):
    """Accepts words from the command line, and a list or a mapping by name from YAML."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Keep the value as it is."""
        setattr(namespace, self.dest, values)
