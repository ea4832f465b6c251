"""The programs and tests of HumanEval and MBPP."""

import builtins
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lorary.errors import DataError
from lorary.evaluation.sandbox.program import Program

HUMANEVAL_FIELDS = {"prompt": str, "test": str, "entry_point": str}
MBPP_FIELDS = {"test_list": list, "test_setup_code": str}


def humaneval_program(row: Mapping[str, Any], completion: str) -> Program:
    """Make the program of one completion of a HumanEval prompt.

    Args:
        row: fields ``prompt``, ``test`` and ``entry_point``, as published.
        completion: the model's text after the prompt, cut at a stop string.

    Raises:
        DataError: if a field is missing or not text.
    """
    _check_row(row, HUMANEVAL_FIELDS, "HumanEval")
    return Program(
        code=row["prompt"] + completion,
        tests=f"{row['test']}\ncheck({row['entry_point']})\n",
        # Tests also call other functions that the prompt defines.
        setup=row["prompt"],
        own=(row["entry_point"],),
    )


def mbpp_program(row: Mapping[str, Any], completion: str) -> Program:
    """Make the program of one answer to an MBPP task.

    Args:
        row: fields ``test_list`` and ``test_setup_code``, as published; in MBPP sanitized ``test_imports``
            instead of the second. ``code`` shows whether the program replaces a built-in function.
        completion: the program, cut at a stop string.

    Raises:
        DataError: if a field is missing or of another type.
    """
    given = dict(row)
    if "test_imports" in given:
        given["test_setup_code"] = "\n".join(map(str, given["test_imports"] or []))
    _check_row(given, MBPP_FIELDS, "MBPP")
    return Program(
        code=completion,
        tests="\n".join([given["test_setup_code"], *map(str, given["test_list"])]),
        own=tuple(_list_shadowing(str(row.get("code", "")))),
    )


def _list_shadowing(code: str) -> Iterator[str]:
    """List functions of a reference solution that have names of built-in functions, such as sum in MBPP."""
    for name in re.findall(r"^def\s+(\w+)", code, re.MULTILINE):
        if hasattr(builtins, name):
            yield name


def _check_row(row: Mapping[str, Any], fields: Mapping[str, type], name: str) -> None:
    faults = [field for field, kind in fields.items() if not isinstance(row.get(field), kind)]
    if faults:
        shown = ", ".join(f"{field} as {fields[field].__name__}" for field in faults)
        raise DataError(f"a row of {name} must have {shown}: its fields are {', '.join(map(str, row))}")
