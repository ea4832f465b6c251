"""Objects of the worker, as the tests see them in the judge."""

import builtins
from collections.abc import Callable
from typing import Any, TypeVar

from .wire import BUILT_IN, Broken, decode, describe_object, encode, receive, send

T = TypeVar("T")
# Of an answer's error text, in characters.
LONGEST_TEXT = 500


class ProgramEnded(Exception):
    """The program ended its process, or tried to."""


class Worker:
    """Asks the worker, and reads its answers.

    Args:
        requests: file descriptor to write requests to.
        answers: file descriptor to read answers from.
    """

    def __init__(self, requests: int, answers: int):
        self._requests, self._answers = requests, answers

    def ask(self, name: str, *values: object) -> Any:
        """Send one request and return its answer.

        Raises:
            Broken: if the worker has ended, or its answer cannot be read.
            Exception: what the program raised, as its nearest built-in class.
        """
        answer = self.ask_raw(name, *(encode(value, _refer) for value in values))
        return self.read(answer.get("value"))

    def ask_raw(self, name: str, *values: Any) -> dict[str, Any]:
        """Send a request whose values are JSON, and read an answer without error."""
        send(self._requests, [name, *values])
        answer = receive(self._answers)
        if not isinstance(answer, dict):
            raise Broken("an answer that cannot be read")
        if "error" in answer:
            raise _make_error(answer["error"])
        return answer

    def call(self, function: "Remote", args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a function of the program; lists and dictionaries that it changes are changed here too."""
        given = [list(args), named]
        answer = self.ask_raw("call", *(encode(part, _refer) for part in (function, *given)))
        _update(given, self.read(answer.get("changed")))
        return self.read(answer.get("value"))

    def read(self, content: Any) -> Any:
        """Decode a value of the worker."""
        return decode(content, lambda number, name: Remote(self, number, name))


class Remote:
    """An object of the worker.

    Attributes, items and results of calls are requested from the worker. Comparisons and sums are never
    requested, because a program could define them to return anything. The object equals only itself.
    """

    __slots__ = ("_name", "_number", "_worker")

    def __init__(self, worker: Worker, number: int, name: str):
        object.__setattr__(self, "_worker", worker)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_name", name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it in the worker."""
        return self._worker.call(self, args, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._worker.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._worker.ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._worker.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._worker.ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._worker.ask("delitem", self, key)

    def __iter__(self) -> Any:
        return self._worker.ask("iter", self)

    def __next__(self) -> Any:
        return self._worker.ask("next", self)

    def __contains__(self, value: Any) -> bool:
        return any(part is value or part == value for part in self)

    def __len__(self) -> int:
        return _check(self._worker.ask("len", self), int)

    def __bool__(self) -> bool:
        return _check(self._worker.ask("bool", self), bool)

    def __str__(self) -> str:
        return _check(self._worker.ask("str", self), str)

    def __repr__(self) -> str:
        return _check(self._worker.ask("repr", self), str)

    def __int__(self) -> int:
        return _check(self._worker.ask("int", self), int)

    def __float__(self) -> float:
        return _check(self._worker.ask("float", self), float)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and _check(self._worker.ask("isinstance", value, self), bool)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)


def _check(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise Broken("an answer of the wrong type")
    return value


def _refer(value: object) -> Any:
    if isinstance(value, Remote):
        return describe_object(value._number, value._name)
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and getattr(builtins, name, None) is value:
        return describe_object(BUILT_IN, name)
    raise TypeError(
        f"tests can pass values to a program, but no objects of their own ({type(value).__name__})"
    )


def _make_error(described: Any) -> Exception:
    if not (isinstance(described, list) and len(described) == 2):
        return Broken("an answer that cannot be read")
    name, text = (str(part)[:LONGEST_TEXT] for part in described)
    kind: Callable[[str], Exception] | None = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # UnicodeDecodeError and others have more arguments
            return ValueError(f"{name}: {text}")
    return ProgramEnded(f"{name} {text}".strip())


def _update(old: Any, new: Any) -> None:
    """Give a list, dictionary or set of the tests the content that the program left in it."""
    if isinstance(old, list) and isinstance(new, list):
        old[:] = [_merge(*pair) for pair in zip(old, new, strict=False)] + new[len(old) :]
    elif isinstance(old, dict) and isinstance(new, dict):
        merged = {key: _merge(old.get(key), value) for key, value in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)


def _merge(old: Any, new: Any) -> Any:
    if type(old) is type(new) and isinstance(old, list | dict | set):
        _update(old, new)
        return old
    return new
