"""Files, and text in them, that others may have made: read within limits, written whole or not at all."""

from lorary.files.cache_folder import find_cache_folder, make_private_folder
from lorary.files.json_text import (
    dump_json_object,
    escape_json,
    parse_json,
    parse_json_object,
    read_json_object,
)
from lorary.files.limits import LIMITS, find_limit, name_variable, say_limit
from lorary.files.markdown import escape_markdown, fence
from lorary.files.patterns import PatternError, PatternMatcher, compile_pattern
from lorary.files.quoting import escape, is_visible, quote, shorten
from lorary.files.regular import open_regular, read_at_most, refuse_irregular, require_regular
from lorary.files.shape import check_shape
from lorary.files.whole import publish, sync_folder, write_whole
from lorary.files.yaml_text import parse_yaml, read_yaml, read_yaml_documents, refuse_yaml_bomb

__all__ = [
    "LIMITS",
    "PatternError",
    "PatternMatcher",
    "check_shape",
    "compile_pattern",
    "dump_json_object",
    "escape",
    "escape_json",
    "escape_markdown",
    "fence",
    "find_cache_folder",
    "find_limit",
    "is_visible",
    "make_private_folder",
    "name_variable",
    "open_regular",
    "parse_json",
    "parse_json_object",
    "parse_yaml",
    "publish",
    "quote",
    "read_at_most",
    "read_json_object",
    "read_yaml",
    "read_yaml_documents",
    "refuse_irregular",
    "refuse_yaml_bomb",
    "require_regular",
    "say_limit",
    "shorten",
    "sync_folder",
    "write_whole",
]
