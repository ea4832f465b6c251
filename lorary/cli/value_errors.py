"""Describe in one line which values an option accepts, from the parser's report of a wrong value."""

import re

_REPORT = re.compile(r'Parser key "([\w.]+)":\n(.*)\b(?:Given|Got) value: (.*)', re.DOTALL)
_CHOICE = re.compile(r"argument (?:\S*/)?--([\w.-]+): invalid choice")
_EXPECTED = re.compile(r"Expected an? ([^\n]*?)(?:\. Got value|\n|$)")
_LITERAL = re.compile(r"typing\.Literal\[(.*)\]")
_WORDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'list'>": "a list, such as [1, 2]",
    "<class 'tuple'>": "a list, such as [1, 2]",
    "<class 'NoneType'>": "null",
}


def explain_value(report: str) -> str:
    """Shorten jsonargparse's report of a value of the wrong type; other reports are returned as they are."""
    found = _REPORT.search(report)
    if found is None:
        return report
    option, _, value = found.groups()
    kinds = [_say_kind(kind) for kind in _EXPECTED.findall(report)]
    if not kinds or None in kinds:
        return report
    return f"{option} must be {' or '.join(map(str, dict.fromkeys(kinds)))}, found {value}"


def find_key(report: str) -> str | None:
    """Return the option of a report of a value of the wrong type, or that is no choice; None for others."""
    found = _REPORT.search(report) or _CHOICE.match(report)
    return None if found is None else found.group(1).replace("-", "_")


def _say_kind(kind: str) -> str | None:
    literal = _LITERAL.fullmatch(kind)
    if literal:
        return f"one of {literal.group(1)}"
    return _WORDS.get(kind)
