"""Settings of a recipe: a value, values along the depth of the model, or values by module."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lorary.files import quote

Setting = Any
"""A setting has one of three forms. A value. A list of numbers, from the first block to the last,
interpolated linearly. A list of ``{filter, value}``, of which the first is used whose filter is part of the
module's path; its value has one of the first two forms."""

SCALARS = (bool, int, float, str)
MOST_ENTRIES = 1000


def find_setting_faults(name: str, setting: Setting) -> Iterator[str]:
    """Yield faults of the form of a setting."""
    if isinstance(setting, SCALARS):
        return
    if isinstance(setting, list | tuple) and 0 < len(setting) <= MOST_ENTRIES:
        if all(_is_number(item) for item in setting):
            return
        if all(isinstance(item, Mapping) for item in setting):
            for item in setting:
                yield from _find_choice_faults(name, item)
            return
    yield (
        f"{name} must be a value, a list of numbers (first to last layer) or a list of {{filter, value}}, "
        f"with finite numbers and at most {MOST_ENTRIES:,} entries, found {quote(setting)}"
    )


def _find_choice_faults(name: str, choice: Mapping[str, Any]) -> Iterator[str]:
    if not choice.keys() <= {"filter", "value"} or "value" not in choice:
        yield f"{name}: each entry must be {{filter, value}} or {{value}}, found {quote(choice)}"
    elif not isinstance(choice.get("filter", "*"), str | None):
        yield f"{name}: a filter must be part of a module's path, found {quote(choice['filter'])}"
    elif isinstance(choice["value"], list) and any(isinstance(item, Mapping) for item in choice["value"]):
        yield f"{name}: value must be a value or a list of numbers, found {quote(choice['value'])}"
    else:
        yield from find_setting_faults(name, choice["value"])


def _is_number(item: Any) -> bool:
    is_number = isinstance(item, int | float) and not isinstance(item, bool)
    return is_number and abs(item) <= sys.float_info.max


def list_filters(setting: Setting) -> list[str]:
    """List the filters of a setting, without those that match all modules."""
    if not isinstance(setting, list | tuple):
        return []
    filters = [item.get("filter") for item in setting if isinstance(item, Mapping)]
    return [text for text in filters if text not in (None, "*")]


def choose_filter(setting: Setting, path: str) -> str | None:
    """Return the filter that chooses a setting's value for a module; None if no filter does."""
    if not isinstance(setting, list | tuple) or not isinstance(setting[0], Mapping):
        return None
    filters = [item.get("filter") for item in setting]
    return next((text for text in filters if _fits(text, path)), None)


def evaluate_setting(setting: Setting, path: str, depth: float) -> Any:
    """Return a setting's value for one module.

    Args:
        setting: a setting of valid form.
        path: the module's path; filters are matched against ``path.weight``, as in mergekit.
        depth: depth of its block, 0 for the first, 1 for the last.

    Returns:
        The value, or None if no filter matches.
    """
    if isinstance(setting, SCALARS):
        return setting
    if not isinstance(setting[0], Mapping):
        place = depth * (len(setting) - 1)
        below = min(int(place), len(setting) - 1)
        above = min(below + 1, len(setting) - 1)
        return setting[below] + (place - below) * (setting[above] - setting[below])
    for choice in setting:
        if _fits(choice.get("filter"), path):
            return evaluate_setting(choice["value"], path, depth)
    return None


def _fits(text: str | None, path: str) -> bool:
    return text in (None, "*") or text in f"{path}.weight"


def evaluate_settings(settings: Mapping[str, Setting], path: str, depth: float) -> dict[str, Any]:
    """Return the values of several settings for one module, without settings whose filters do not match."""
    values = {name: evaluate_setting(setting, path, depth) for name, setting in settings.items()}
    return {name: value for name, value in values.items() if value is not None}
