"""Detecting regular expressions that take exponential time in Python's ``re``, which PEFT uses."""

from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)


def is_slow(pattern: str) -> bool:
    """Return whether a pattern has an unlimited repetition of a part that matches in several ways.

    Such parts are alternatives, as in ``(.|.)*``, and repetitions, as in ``(a*)*``. Each repetition doubles
    the number of ways to match. Other slow patterns are not detected.

    Raises:
        re.error, OverflowError, RecursionError: if it is not a regular expression.
    """
    return _repeats_what_can_split(_parser.parse(pattern))


def _repeats_what_can_split(parsed: Any) -> bool:
    return any(
        (operator in REPEATS and argument[1] == _constants.MAXREPEAT and _can_split(argument[2]))
        or any(_repeats_what_can_split(part) for part in _find_parts(argument))
        for operator, argument in parsed
    )


def _can_split(body: Any) -> bool:
    """Return whether the body of a repetition matches texts in several ways."""
    while len(body) == 1 and body[0][0] is _constants.SUBPATTERN:
        body = body[0][1][-1]
    if any(operator is _constants.BRANCH for operator, _ in body):
        return True
    endless = [at for at, (operator, argument) in enumerate(body) if _is_endless(operator, argument)]
    # Required characters separate the repetitions, such as the dot in (\w+\.)*.
    rest = sum(body[at : at + 1].getwidth()[0] for at in range(len(body)) if at not in endless)
    return bool(endless) and rest == 0


def _is_endless(operator: Any, argument: Any) -> bool:
    return operator in REPEATS and argument[1] == _constants.MAXREPEAT


def _find_parts(argument: Any) -> list[Any]:
    """List the expressions in the argument of an operator, at any depth."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple | list):
        return [part for item in argument for part in _find_parts(item)]
    return []
