"""The page on data says what the readers do."""

import json
import re
from pathlib import Path

from lorary.data.readers import describe_formats
from lorary.data.readers.alpaca import CUE, write_standard
from lorary.data.readers.columns import PARTS
from lorary.data.readers.content import MEDIA
from lorary.files.limits import LIMITS

PAGE = (Path(__file__).parents[3] / "docs/data.md").read_text()


def test_every_format_stands_on_the_page_with_its_example():
    found = re.findall(r"\*\*`([\w-]+)`\*\* – (.*)\nPrompt and target: (.*)\.\n\n```json\n(.*)\n```", PAGE)
    assert [(name, keys, meaning, json.loads(example)) for name, keys, meaning, example in found] == [
        tuple(note) for note in describe_formats()
    ]


def test_alpacas_prompt_on_the_page_is_the_one_that_is_written():
    assert f"{write_standard('{instruction}', '{input}')}\n{CUE}" in PAGE


def test_parts_media_and_limits_stand_on_the_page():
    assert all(f"`{word}`" in PAGE for word in (*PARTS, *MEDIA))
    for name in ("row_mb", "task_gb", "unpack_ratio", "unpack_mb"):
        assert f"`{LIMITS[name].variable}` | {LIMITS[name].default:g} |" in PAGE
