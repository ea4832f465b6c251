"""Rooms import only downward, and ``import lorary`` does nothing."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lorary

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lorary"
EVERY = "all"

# Besides these, which every room may import.
FREE_ROOMS = {"errors", "files", "lazy"}
MAY_IMPORT = {
    "errors": set(),
    "lazy": set(),
    "files": set(),
    "progress": set(),
    "kernels": set(),
    "lowrank": set(),
    "experts": {"lowrank"},
    "library": {"experts"},
    "transforms": {"experts", "lowrank"},
    "routing": {"kernels"},
    "models": {"experts", "lowrank", "routing", "kernels"},
    "data": set(),
    "passes": {"data", "models", "routing"},
    "training": {"data", "models", "passes", "routing", "experts", "lowrank"},
    "facts": {"training", "data", "models", "library", "transforms", "routing", "experts"},
    "assembly": {"data", "facts", "models", "passes", "library", "routing", "experts"},
    "evaluation": {"data", "models", "passes", "facts", "assembly", "routing", "experts"},
    "adaptation": {
        "training",
        "facts",
        "assembly",
        "data",
        "models",
        "passes",
        "transforms",
        "library",
        "lowrank",
        "routing",
        "experts",
    },
    "reports": {"data", "assembly", "evaluation"},
    "cli": {EVERY},
}
# Says of itself what it is, whoever asks.
FREE_NAMES = {"__version__"}


def test_the_table_in_the_design_is_the_one_enforced_here():
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (.*) \|$", (ROOT / "docs/design.md").read_text(), flags=re.MULTILINE
    )
    words = {room: set(re.findall(r"\w+", allowed)) for room, allowed in rows}
    assert words == {room: allowed | ({"and"} & words[room]) for room, allowed in MAY_IMPORT.items()}


def test_every_room_has_its_row():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert rooms - {"__init__", "__main__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_its_row_allows(room):
    allowed = MAY_IMPORT[room] | {room} | FREE_ROOMS
    found = [
        f"{path.relative_to(ROOT)}: {imported}"
        for path in find_files(room)
        for imported in find_imports(path)
        if EVERY not in allowed and imported not in allowed | FREE_NAMES
    ]
    assert found == []


def test_a_forbidden_import_is_found_however_it_is_written(tmp_path):
    code = """
import lorary.cli.main as m, lorary
from lorary import data, Library
from ..models.mix import mix
from .x import y
def f():
    from lorary.experts import Expert
"""
    folder = tmp_path / "lorary" / "lowrank"
    folder.mkdir(parents=True)
    (folder / "svd.py").write_text(code)
    imports = find_imports(folder / "svd.py", tmp_path / "lorary")
    assert imports == ["cli", "lorary", "data", "Library", "models", "lowrank", "experts"]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_own_modules_are_imported_at_the_top_of_files(room):
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in find_files(room) for line in find_inner_imports(path)
    ]
    assert found == []


def test_an_import_within_a_function_is_found_however_it_is_written(tmp_path):
    code = """
import lorary.files
if lorary:
    from lorary.files import quote
def f():
    import torch
    import torch, lorary.errors as e
    class C:
        async def g(self):
            from ..errors import x
            from lorary import y
"""
    (tmp_path / "code.py").write_text(code)
    assert find_inner_imports(tmp_path / "code.py") == [7, 10, 11]


def test_importing_the_package_does_nothing():
    code = """
import logging, socket, sys, warnings
def refuse(*args, **kwargs): raise AssertionError("the network was used")
socket.socket.connect = refuse
before = set(sys.modules), list(logging.root.handlers), list(warnings.filters)
import lorary
dir(lorary)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before[0]}
print(sorted(loaded - set(sys.stdlib_module_names)))
assert [name for name in sys.modules if name.startswith("lorary.")] == []
assert (list(logging.root.handlers), list(warnings.filters)) == before[1:]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lorary']"


@pytest.mark.parametrize("name", lorary.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lorary, name) is not None
    assert name in dir(lorary)


def test_type_checkers_see_the_same_public_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"lorary.{room}" for name, room in lorary._ROOMS.items()}
    assert set(lorary.__all__) == {*seen, "__version__"}


@pytest.mark.parametrize("room", sorted(set(MAY_IMPORT) - {"errors", "lazy"}))
def test_a_room_says_what_it_offers(room):
    module = importlib.import_module(f"lorary.{room}")
    assert module.__doc__
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_an_unknown_public_name_is_refused():
    with pytest.raises(AttributeError, match="module 'lorary' has no attribute 'nothing'"):
        lorary.nothing  # noqa: B018


def find_files(room):
    """Return the Python files of a room, which is a folder or a single file."""
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def find_inner_imports(path):
    """Return the lines of a file on which a function imports from this package."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    inner = [
        node
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, functions)
        for node in ast.walk(function)
    ]
    lines = {
        node.lineno
        for node in inner
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "lorary" for a in node.names))
        or (
            isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "lorary")
        )
    }
    return sorted(lines)


def find_imports(path, package=PACKAGE):
    """Return the rooms, or names of ``lorary`` itself, that a file imports, the outermost imports first."""
    here = ["lorary", *path.relative_to(package).parent.parts]
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            origin = ".".join([*above, node.module] if node.module else above)
            modules += [f"{origin}.{alias.name}" for alias in node.names] if origin == "lorary" else [origin]
    ours = [module.split(".") for module in modules if module.split(".")[0] == "lorary"]
    return [parts[1] if len(parts) > 1 else "lorary" for parts in ours]


def test_no_module_imports_itself_through_others():
    """Inside rooms too; a package stands for its ``__init__``."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    below = {name: list_modules(path, files) for name, path in files.items()}
    while leaves := [name for name, found in below.items() if not found & below.keys()]:
        for name in leaves:
            del below[name]
    assert below == {}


def list_modules(path, known):
    """The first-party modules that a file imports when it is imported."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & known.keys()) or {node.module}
    return found & known.keys()
