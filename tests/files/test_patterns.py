import time

import pytest

from lorary.files import PatternMatcher
from lorary.files.patterns import PatternError


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("q_proj", "q_proj", True),
        ("q_proj", "xq_proj", False),
        (r"(.*\.)?(layers\.[0-3]\.q_proj)$", "model.layers.2.q_proj", True),
        (r"(?!.*\.0\.).*", "layers.0.q", False),
        (r"[a\]]b", "]b", True),
    ],
)
def test_patterns_mean_what_python_says(pattern, text, expected):
    assert PatternMatcher().fully_matches(PatternMatcher.compile(pattern), text) is expected


@pytest.mark.parametrize("pattern", ["(", "a**", "*", r"\pL", "(?R)", "(" * 1000 + ")" * 1000, r"\2"])
def test_what_is_no_regular_expression_of_pythons_is_refused(pattern):
    with pytest.raises(PatternError, match="not a regular expression"):
        PatternMatcher.compile(pattern)


def test_what_may_change_its_meaning_is_refused():
    with pytest.raises(PatternError, match="may change"):
        PatternMatcher.compile("[[a]b")


@pytest.mark.parametrize("pattern", ["((a{1000}){1000}){1000}", "a{99999999999}", "a" * 3000])
def test_patterns_that_are_too_large_are_refused(pattern):
    with pytest.raises(PatternError, match=r"repeats too often|longer than"):
        PatternMatcher.compile(pattern)


def test_matching_stops_when_the_time_for_all_patterns_is_up(monkeypatch):
    monkeypatch.setenv("LORARY_MAX_PATTERN_SECONDS", "0.1")
    matcher = PatternMatcher()
    slow = PatternMatcher.compile(r"(?:(a|b|ab)*)*(?:\1)*c")
    begun = time.monotonic()
    with pytest.raises(PatternError, match=r"takes too long to match.*LORARY_MAX_PATTERN_SECONDS"):
        match_often(matcher, slow)
    assert time.monotonic() - begun < 5
    with pytest.raises(PatternError, match="takes too long"):
        matcher.fully_matches(PatternMatcher.compile("a"), "a")


def match_often(matcher, pattern):
    for _ in range(1_000_000):
        matcher.fully_matches(pattern, "ab" * 200)


@pytest.mark.parametrize("pattern", ["(q_proj){e}", "a{e<=2}", "q{}", "{", r"\\{e}", "[q[:alpha:]]", "a{,}"])
def test_what_another_engine_reads_otherwise_is_refused(pattern):
    """Guards a silent difference: ``{e}`` is text for Python's ``re``, and near matches for ``regex``."""
    with pytest.raises(PatternError, match=r"a brace that is not a count|may change"):
        PatternMatcher.compile(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r"a{2}", "aa"), (r"a{1,}", "a"), (r"a{,2}", "aa"), (r"\{e\}", "{e}"), (r"\\\{", "\\{")],
)
def test_counts_and_escaped_braces_are_read(pattern, text):
    assert PatternMatcher().fully_matches(PatternMatcher.compile(pattern), text)
