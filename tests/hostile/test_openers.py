"""Whatever opens files is tried by the hostile-file contract."""

import ast

import pytest

from tests.hostile.openers import PACKAGE, READ_BY, find_openers, list_calls
from tests.hostile.readers import READERS


def test_every_module_that_opens_files_names_the_readers_that_try_it():
    assert sorted(find_openers().keys() - READ_BY.keys()) == []


@pytest.mark.parametrize("module", READ_BY)
def test_what_is_listed_is_as_it_says(module):
    readers = READ_BY[module]
    assert isinstance(readers, str) or set(readers) <= READERS.keys()
    assert module in find_openers() or not (PACKAGE / module).exists()


def test_opening_is_found_however_it_is_written(tmp_path):
    code = """
import os, json
from safetensors import safe_open as s
def f(fs, path):
    with open(path) as file: json.loads(file.read())
    os.open(path, os.O_RDONLY); fs.cat_file(path)
    return Library.open(path), path.exists()
"""
    assert set(list_calls(ast.parse(code))) == {"open", "loads", "read", "cat_file", "exists"}
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/new.py").write_text(code)
    assert find_openers(tmp_path) == {"inner/new.py": {"open", "loads", "cat_file"}}
