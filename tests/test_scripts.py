"""Scripts that no other test runs import names that exist."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [
    *sorted(ROOT.glob("examples/*.py")),
    *sorted(ROOT.glob("bench/*.py")),
    ROOT / "tests/compatibility.py",
    ROOT / "docs/make_notebook.py",
]
OURS = ("lorary", "bench", "tests", "examples")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_that_a_script_imports_exists(script):
    """The script of the compatibility page imported a name that had moved."""
    missing = [name for name in list_imports(script) if not exists(*name)]
    assert missing == []


def list_imports(script):
    """Give the module and the name of each of our names that a script imports."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            yield from ((node.module, each.name) for each in node.names)


def exists(module, name):
    """Tell whether a module has a name, or a module of that name."""
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None
