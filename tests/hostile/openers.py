"""Which modules of the package read files, and which readers of the contract try them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import lorary

PACKAGE = Path(lorary.__file__).parent
# What takes up a file's content, or the name of one, wherever it is called. `loads` and `parse_…` understand
# content that was read elsewhere: they are where hostile values arrive.
CALLS = {
    "CDLL",
    "cat_file",
    "cat_ranges",
    "fdopen",
    "from_pretrained",
    "fromfile",
    "get_tensor",
    "load",
    "load_file",
    "loads",
    "memmap",
    "mmap",
    "open",
    "open_regular",
    "parse_json",
    "parse_json_object",
    "parse_yaml",
    "read_at_most",
    "read_bytes",
    "read_json_object",
    "read_text",
    "read_yaml",
    "safe_load",
    "safe_open",
}


def find_openers(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Find the modules that call any of these: path within the package -> what they call."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        called = set(list_calls(ast.parse(path.read_text()))) & CALLS
        if called:
            found[str(path.relative_to(package))] = called
    return found


def list_calls(tree: ast.AST) -> Iterator[str]:
    """Give the last name of everything that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr
            elif isinstance(node.func, ast.Name):
                yield node.func.id
