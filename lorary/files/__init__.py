"""Untrusted files and the text in them: read within limits, written completely or not at all."""

from lorary.files.appended import append_line
from lorary.files.cache_folder import open_cache_folder
from lorary.files.counts import say_count
from lorary.files.html_text import escape_html, html_table
from lorary.files.json_text import dump_json, parse_json_object
from lorary.files.limits import LIMITS
from lorary.files.markdown import escape_markdown
from lorary.files.patterns import PatternMatcher
from lorary.files.quoting import escape, quote
from lorary.files.regular import hash_file, open_regular, read_at_most, require_regular
from lorary.files.shape import check_shape
from lorary.files.whole import write_whole

__all__ = [
    "LIMITS",
    "PatternMatcher",
    "append_line",
    "check_shape",
    "dump_json",
    "escape",
    "escape_html",
    "escape_markdown",
    "hash_file",
    "html_table",
    "open_cache_folder",
    "open_regular",
    "parse_json_object",
    "quote",
    "read_at_most",
    "require_regular",
    "say_count",
    "write_whole",
]
