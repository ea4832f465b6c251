"""Building a method's configuration from options by name."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lorary.errors import suggest
from lorary.files import quote
from lorary.transforms.merging.checks import join_faults


def build_config(method: str, config: type, options: Mapping[str, Any]) -> Any:
    """Build a method's configuration; all faults are reported at once.

    If a configuration has the fields ``inner`` and ``options``, all names that it does not have itself are
    options of its inner method.

    Args:
        method: the method's name, for messages.
        config: the dataclass of its options.
        options: option -> value; other options have their defaults.

    Raises:
        ValueError: with all options that are unknown, with suggestions, or out of range.
    """
    known = {field.name for field in fields(config)}
    given = dict(options)
    if {"inner", "options"} <= known:
        own = {name: given.pop(name) for name in known if name in given}
        if not isinstance(own.get("options", {}), Mapping):
            found = quote(own["options"])
            raise ValueError(f"merging by {method!r}: options must map names to values, found {found}")
        given = {**own, "options": {**own.get("options", {}), **given}}
    faults = [
        f"unknown option {quote(name)}: {suggest(str(name), known)}" for name in given if name not in known
    ]
    sound = {name: value for name, value in given.items() if name in known}
    try:
        built = config(**sound)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError(f"merging by {quote(method)}: {join_faults(faults)}")
    return built
