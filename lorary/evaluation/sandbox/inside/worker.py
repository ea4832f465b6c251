"""The process that runs the program of a model; it has access to neither the tests nor the verdict.

It executes the judge's requests: run the program, call a function, read an attribute. Its answers are treated
as values, and nothing else.
"""

import builtins
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from .wire import BUILT_IN, Broken, decode, describe_object, encode, receive, send

# Of an error's text, in characters.
LONGEST_TEXT = 300
MAX_OBJECTS = 100_000
MODULE = "program"


def serve(requests: int, answers: int, site_packages: list[str]) -> None:
    """Answer the judge's requests until it ends."""
    sys.path += site_packages
    objects = Objects()
    while True:
        try:
            request = receive(requests)
        except Broken:
            return
        try:
            answer = _answer(objects, request)
        except BaseException as error:
            answer = {"error": _describe(error)}
        try:
            send(answers, answer)
        except ValueError as error:
            send(answers, {"error": _describe(error)})


class Objects:
    """Objects that stay in this process, by number; the same object has the same number."""

    def __init__(self) -> None:
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}

    def refer(self, value: object) -> Any:
        """Write the number of an object; numbers of other packages, such as numpy's, become Python's."""
        if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
            return encode(value.item(), self._store)  # type: ignore[attr-defined]
        return self._store(value)

    def _store(self, value: object) -> Any:
        if id(value) not in self._numbers:
            if len(self._objects) >= MAX_OBJECTS:
                raise ValueError(f"more than {MAX_OBJECTS} objects")
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return describe_object(self._numbers[id(value)], type(value).__name__)

    def find(self, number: int, name: str) -> object:
        """Find an object by its number, or a built-in object by its name."""
        return getattr(builtins, name) if number == BUILT_IN else self._objects[number]


def _answer(objects: Objects, request: list[Any]) -> dict[str, Any]:
    name, *values = request
    values = [decode(value, objects.find) for value in values]
    if name == "run":
        return {"value": encode(_run(values[0]), objects.refer)}
    if name == "global":
        return {"value": encode(vars(sys.modules[MODULE])[values[0]], objects.refer)}
    if name == "call":
        function, args, named = values
        result = encode(function(*args, **named), objects.refer)
        # Tests may inspect lists that a function has changed.
        return {"value": result, "changed": encode([args, named], objects.refer)}
    return {"value": encode(ACTIONS[name](*values), objects.refer)}


def _run(code: str) -> dict[str, str]:
    """Run the program, and list what it defines: a module's own name, and nothing for other values."""
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    exec(compile(code, "<program>", "exec"), module.__dict__)
    found = vars(module).items()
    return {name: value.__name__ if isinstance(value, types.ModuleType) else "" for name, value in found}


def _describe(error: BaseException) -> list[str]:
    """Return an error's nearest built-in class, which the judge knows, and its text."""
    kinds = [kind for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        text = str(error)[:LONGEST_TEXT]
    except BaseException:
        text = ""
    own = type(error).__name__
    return [kinds[0].__name__, text if own == kinds[0].__name__ else f"{own}: {text}"[:LONGEST_TEXT]]


ACTIONS: dict[str, Callable[..., Any]] = {
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "len": len,
    "bool": bool,
    "iter": iter,
    "next": next,
    "str": str,
    "repr": repr,
    "int": int,
    "float": float,
    "isinstance": isinstance,
}
