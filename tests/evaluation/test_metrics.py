from math import inf, nan

import pytest

from lorary.evaluation import (
    METRICS,
    accuracy,
    choice_scores,
    exact_match,
    find_metric,
    normalize_answer,
    rouge_l,
)


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


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence():
    # Common subsequence "the cat sat": 3 of 4 words predicted, 3 of 6 words wanted.
    precision, recall = 3 / 4, 3 / 6
    expected = 2 * precision * recall / (precision + recall)
    assert rouge_l("the cat sat down", ["the cat has sat right there"]) == pytest.approx(expected)


def test_rouge_l_stems_words_as_super_natural_instructions_does():
    assert rouge_l("running dogs", ["run dog"]) == 1.0


def test_rouge_l_takes_the_best_target():
    assert rouge_l("a red house", ["nothing alike", "a red house"]) == 1.0


def test_rouge_l_of_an_answer_without_words_is_zero():
    assert rouge_l("... ---", ["... ---"]) == 0.0


def test_a_choice_is_made_by_sum_by_token_and_by_byte():
    # sums -4, -6, -9; per token -4, -2, -3; per byte -2, -1.5, -0.9
    chosen = choice_scores([-4.0, -6.0, -9.0], [1, 3, 3], [2, 4, 10])
    assert chosen == {"sum": 0, "per_token": 1, "per_byte": 2}


def test_of_equal_choices_the_first_is_taken():
    assert choice_scores([-inf, -1.0, -1.0], [1, 1, 1], [1, 1, 1]) == {
        "sum": 1,
        "per_token": 1,
        "per_byte": 1,
    }


def test_shifting_no_length_leaves_all_three_choices_equal():
    chosen = choice_scores([-3.0, -2.0, -5.0], [4, 4, 4], [9, 9, 9])
    assert set(chosen.values()) == {1}


def test_accuracy_is_one_only_for_the_right_index():
    assert (accuracy(2, 2), accuracy(1, 2)) == (1.0, 0.0)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.score_text])
def test_every_text_metric_gives_a_perfect_answer_one_and_a_wrong_one_zero(name):
    score = METRICS[name].score_text
    assert score("forty two", ["forty two"]) == 1.0
    assert score("seven", ["forty two"]) == 0.0


def test_only_loss_is_better_when_lower():
    assert [name for name, metric in METRICS.items() if metric.lower_is_better] == ["loss"]


def test_every_way_to_choose_has_its_accuracy_among_the_metrics():
    for way in choice_scores([-1.0], [1], [1]):
        assert f"accuracy_{way}" in METRICS


@pytest.mark.parametrize("score", [exact_match, rouge_l])
def test_an_answer_without_targets_is_refused(score):
    with pytest.raises(ValueError, match="needs at least one target"):
        score("x", [])
    with pytest.raises(TypeError, match="found the single text 'abc'"):
        score("x", "abc")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-1.0, nan], [1, 1], [1, 1]), "log-likelihood of choice 1 is NaN"),
        (([-1.0], [0], [1]), "choice 0 is empty: it has 0 tokens and 1 bytes"),
        (([-1.0], [1], [0]), "choice 0 is empty: it has 1 tokens and 0 bytes"),
        (([-1.0, -2.0], [1], [1, 1]), "found 2, 1 and 2 of them"),
        (([], [], []), "found 0, 0 and 0 of them"),
    ],
)
def test_choices_that_cannot_be_compared_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choice_scores(*arguments)


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no metric is called 'rouge': did you mean 'rouge_l'"):
        find_metric("rouge")
