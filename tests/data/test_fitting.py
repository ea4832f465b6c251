import pytest

from lorary.data.fitting import check_truncation, cut_prompt


def test_cutting_left_keeps_the_end():
    assert cut_prompt(range(10), 4, "prompt-left", 0) == (6, 7, 8, 9)


def test_cutting_the_middle_keeps_both_ends():
    assert cut_prompt(range(10), 4, "prompt-middle", 0) == (0, 1, 8, 9)
    assert cut_prompt(range(10), 5, "prompt-middle", 0) == (0, 1, 7, 8, 9)


@pytest.mark.parametrize("truncation", ["prompt-left", "prompt-middle"])
def test_the_opening_stays_and_so_does_the_last_token(truncation):
    assert cut_prompt(range(10), 3, truncation, 1)[0] == 0
    for room in range(1, 12):
        cut = cut_prompt(range(10), room, truncation, 1)
        assert len(cut) == min(room, 10)
        assert cut[-1] == 9
        assert list(cut) == sorted(set(cut))


def test_a_limit_or_a_policy_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"max_length must be at least 2 .*, not 1"):
        check_truncation(1, "error")
    with pytest.raises(
        ValueError, match=r"must be one of error, prompt-left, prompt-middle, skip, not 'left'"
    ):
        check_truncation(8, "left")
