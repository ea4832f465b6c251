import pytest

from lorary.evaluation.measures.rouge_l import rouge_l


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
