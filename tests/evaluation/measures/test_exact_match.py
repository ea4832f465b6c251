import pytest

from lorary.evaluation.measures.exact_match import exact_match, normalize_answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Paris\n", "paris"),
        ("New   York\tCity.", "new york city"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("1.5", "1.5"),
        ("... --- ...", "... --- ..."),
        ("wait...", "wait..."),
        ("", ""),
    ],
)
def test_an_answer_is_normalized_as_documented(text, normal):
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "targets", "score"),
    [
        (" Paris. ", ["paris"], 1.0),
        ("London", ["Paris", "london"], 1.0),
        ("Paris, France", ["Paris"], 0.0),
        ("-", ["-."], 0.0),
        ("", ["x"], 0.0),
    ],
)
def test_exact_match_asks_whether_any_target_is_the_answer(prediction, targets, score):
    assert exact_match(prediction, targets) == score
