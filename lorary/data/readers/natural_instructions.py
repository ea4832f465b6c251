"""Super-NaturalInstructions: a task file has a definition, and instances with one or more right outputs.

Source: Super-NaturalInstructions, arXiv:2204.07705.
"""

from collections.abc import Mapping
from typing import Any

from lorary.data.readers.row_format import Row, RowFormat, clean_text, has_keys, take_text, take_texts
from lorary.data.task import Example
from lorary.files import quote

MOST_CATEGORIES, LONGEST_CATEGORY = 8, 80


def read_instance(row: Row) -> Example:
    """Read one instance; all its outputs are right answers. An empty output is an empty answer."""
    outputs = row.get("output")
    if not isinstance(outputs, list | tuple) or not outputs:
        targets = (take_text(row, "output"),) if isinstance(outputs, str) else take_texts(row, "output")
    else:
        targets = tuple("" if _is_blank(output) else clean_text(output, "output") for output in outputs)
    return Example(take_text(row, "input"), targets)


def _is_blank(output: object) -> bool:
    return isinstance(output, str) and not output.strip()


def is_task_file(content: object) -> bool:
    """Return whether a JSON value is a whole task file."""
    return isinstance(content, Mapping) and "Instances" in content and "Definition" in content


def read_definition(content: Mapping[str, Any]) -> str:
    """Return a task file's definition; the first one, if it is a list of several wordings.

    Raises:
        ValueError: if it is neither text nor a list of texts.
    """
    definition = content["Definition"]
    if isinstance(definition, list) and definition:
        definition = definition[0]
    if not isinstance(definition, str):
        raise ValueError(f"'Definition' must be text or a list of texts, not {quote(definition, 60)}")
    return clean_text(definition, "Definition") if definition.strip() else ""


def read_categories(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a task file's categories; none if they are missing or no texts."""
    given = content.get("Categories", ())
    parts = [given] if isinstance(given, str) else given
    if not isinstance(parts, list | tuple):
        return ()
    texts = [" ".join(part.split())[:LONGEST_CATEGORY] for part in parts if isinstance(part, str)]
    return tuple(dict.fromkeys(text for text in texts if text))[:MOST_CATEGORIES]


NATURAL_INSTRUCTIONS = RowFormat(
    keys="input, output; or a JSON file with Definition, Instances [{input, output}]",
    meaning="the file's definition and the input are the prompt, each output is a right target; an empty one "
    "means: answer nothing",
    example={"id": "t-1", "input": "Hi", "output": ["Ho"]},
    matches=has_keys("input", "output"),
    read=read_instance,
)
