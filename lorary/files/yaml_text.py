"""Untrusted YAML: plain values only, protected from bombs of aliases and nesting."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lorary.errors import FormatError
from lorary.files.counts import say_count
from lorary.files.limits import LIMITS
from lorary.files.quoting import escape, quote
from lorary.files.regular import read_at_most
from lorary.files.shape import check_shape

# libyaml is six times as fast as Python, but overflows its stack if values are deeply nested.
_FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOAT = re.compile(
    r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)


class _Loader(_FASTEST):
    """Reads ``1e-3`` as a number and ``2024-01-31`` as text, and refuses repeated keys, as in YAML 1.2."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((place for place, key in enumerate(keys) if key in keys[:place]), -1)
            problem = f"the key {quote(keys[twice], 60)} is given twice: keep one"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.value[twice][0].start_mark)
        return found


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in _FASTEST.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file of one document.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is not a regular file, too large or deep, not UTF-8, not YAML, or requests objects.
    """
    text = _read_text(path)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise FormatError(
            f"{quote(str(path))} is not a YAML file: {escape(str(error), longest=200)}"
        ) from error


def read_yaml_documents(path: str | Path) -> list[Any]:
    """Read a YAML file of one or more documents; empty ones among others are left out.

    Raises:
        OSError, FormatError: as ``read_yaml`` does.
    """
    text = _read_text(path)
    try:
        documents = _parse_documents(text)
    except ValueError as error:
        raise FormatError(
            f"{quote(str(path))} is not a YAML file: {escape(str(error), longest=200)}"
        ) from error
    return [value for value in documents if value is not None] or [None]


def parse_yaml(text: str) -> Any:
    """Parse YAML text of one document.

    Raises:
        ValueError: with the fault and its place.
    """
    documents = _parse_documents(text)
    if len(documents) > 1:
        raise ValueError(f"it holds {say_count(len(documents), 'document')}: keep one")
    return documents[0] if documents else None


def _read_text(path: str | Path) -> str:
    try:
        return read_at_most(path).decode("utf-8-sig")
    except ValueError as error:
        raise FormatError(
            f"{quote(str(path))} is not a YAML file: {escape(str(error), longest=200)}"
        ) from error


def _parse_documents(text: str) -> list[Any]:
    depth = int(LIMITS["json_depth"].value)
    try:
        # Before any value is built, because building recurses once for each level.
        for event in _look_through(text, depth):
            _refuse_constructions(event)
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_describe(error)) from error
    # Any other error of loading is about a value that it could not build.
    for value in documents:
        check_shape(value, max_depth=depth, max_count=LIMITS["yaml_nodes"].value)
    return documents


def refuse_yaml_bomb(text: str) -> None:
    """Refuse text that is unsafe for other readers of YAML; text that is not YAML passes.

    Raises:
        ValueError: if it nests too deeply, holds too many values, or repeats a list or mapping by an alias.
    """
    groups = set()
    try:
        for event in _look_through(text, int(LIMITS["json_depth"].value)):
            if isinstance(event, yaml.CollectionStartEvent):
                groups.add(event.anchor)
            elif isinstance(event, yaml.AliasEvent) and event.anchor in groups:
                raise ValueError(f"{quote(text, 60)} repeats a list or mapping by an alias: write it out")
    except (yaml.YAMLError, UnicodeEncodeError):
        return


def _look_through(text: str, max_depth: int) -> Iterator[yaml.Event]:
    """Yield the events of the text within the limits, which takes no memory."""
    depth = count = 0
    most = LIMITS["yaml_nodes"].value
    for event in yaml.parse(text, Loader=_FASTEST):
        count += isinstance(event, yaml.NodeEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > max_depth:
            raise ValueError(f"it nests too deeply: {LIMITS['json_depth'].advice}")
        if count > most:
            raise ValueError(f"it holds too many values: {LIMITS['yaml_nodes'].advice}")
        yield event


def _refuse_constructions(event: yaml.Event) -> None:
    """Refuse syntax that makes values from others: tags, and ``<<``, whose merges can grow endlessly."""
    tag = getattr(event, "tag", None)
    if tag not in (None, "!"):
        raise ValueError(f"it has a value of the kind {quote(tag, 60)}: write plain values")
    if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
        raise ValueError("it merges mappings by '<<': write out the keys")


def _describe(error: Exception) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{problem}{where}"
