"""YAML from outside: plain values only, without the bombs that aliases and nesting make."""

from pathlib import Path
from typing import Any

import yaml

from lorary.errors import FormatError
from lorary.files.limits import find_limit, say_limit
from lorary.files.quoting import quote, shorten
from lorary.files.regular import MEGABYTE, open_regular
from lorary.files.shape import check_shape


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file of one document.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is no regular file, too large or deep, not UTF-8, no YAML, or asks for objects.
    """
    most = int(find_limit("json_mb") * MEGABYTE)
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise FormatError(f"{quote(str(path))} is too large: {say_limit('json_mb')}")
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except ValueError as error:
        raise FormatError(f"{quote(str(path))} is not a YAML file: {shorten(str(error))}") from error


def parse_yaml(text: str) -> Any:
    """Understand YAML text of one document.

    Raises:
        ValueError: saying what is wrong with it, and where.
    """
    depth = int(find_limit("json_depth"))
    try:
        _refuse_deep_nesting(text, depth)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_describe(error)) from error
    # Anything else safe_load raises is about a value it could not build, such as a date in month 13.
    check_shape(value, max_depth=depth, max_count=find_limit("yaml_nodes"))
    return value


def _refuse_deep_nesting(text: str, max_depth: int) -> None:
    """Look at the events alone: building values, and reading ``[[[[``, recur once for each level."""
    depth = 0
    most = find_limit("yaml_nodes")
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if count > 2 * most:  # a collection has a beginning and an end
            raise ValueError(f"it holds too many values: {say_limit('yaml_nodes')}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > max_depth:
                raise ValueError(f"it nests too deeply: {say_limit('json_depth')}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _describe(error: Exception) -> str:
    problem = getattr(error, "problem", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{problem}{where}"
