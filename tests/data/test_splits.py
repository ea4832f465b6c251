import pytest

from lorary.data.content import hash_fraction, hash_input
from lorary.data.splits import SplitConfig, drop_duplicates, drop_overlap, split_examples
from lorary.data.task import Example

EXAMPLES = [Example(f"question {number}", (str(number),)) for number in range(400)]


def test_every_example_lies_where_the_hash_of_its_input_says():
    splits = split_examples(EXAMPLES, SplitConfig(train=0.5, validation=0.3, test=0.2))
    for name, low, high in (("train", 0, 0.5), ("validation", 0.5, 0.8), ("test", 0.8, 1)):
        expected = [e for e in EXAMPLES if low <= hash_fraction(hash_input(e)) < high]
        assert list(splits[name]) == expected
        assert expected


def test_fractions_are_about_what_was_asked():
    sizes = {name: len(part) for name, part in split_examples(EXAMPLES).items()}
    assert sum(sizes.values()) == 400
    assert 290 < sizes["train"] < 350
    assert 20 < sizes["validation"] < 65
    assert 20 < sizes["test"] < 65


def test_the_same_input_never_lies_in_two_splits_whatever_its_target():
    twins = [Example(f"QUESTION  {number}", ("other",)) for number in range(400)]
    splits = split_examples([*EXAMPLES, *twins])
    asked = {name: {hash_input(example) for example in part} for name, part in splits.items()}
    assert not asked["train"] & asked["validation"]
    assert not asked["train"] & asked["test"]
    assert not asked["validation"] & asked["test"]


def test_rows_added_later_move_nothing():
    before = split_examples(EXAMPLES[:200])
    after = split_examples(EXAMPLES[::-1])
    assert all(set(before[name]) <= set(after[name]) for name in before)


def test_a_cap_leaves_examples_out_and_moves_none():
    whole = split_examples(EXAMPLES)
    capped = split_examples(EXAMPLES, SplitConfig(max_train=10, max_validation=0, max_test=5))
    assert [len(capped[name]) for name in ("train", "validation", "test")] == [10, 0, 5]
    assert all(set(capped[name]) <= set(whole[name]) for name in whole)
    assert list(capped["train"]) == [example for example in EXAMPLES if example in capped["train"]]


def test_of_identical_examples_the_first_stays_and_other_targets_or_choices_are_no_duplicates():
    one, other = Example("a", ("1",)), Example("a", ("2",))
    chosen = Example("a", ("1",), ("1", "2"))
    assert drop_duplicates([one, other, one, chosen, other]) == (one, other, chosen)


def test_what_a_later_split_asks_is_dropped_from_the_earlier_ones():
    a, b, c, d = (Example(letter, ("1",)) for letter in "abcd")
    shouted = Example("B ", ("2",))
    splits = drop_overlap({"train": (a, b, c, d), "validation": (a, c), "test": (a, shouted)})
    assert splits == {"train": (d,), "validation": (c,), "test": (a, shouted)}


def test_fractions_and_caps_that_make_no_sense_are_all_named_at_once():
    with pytest.raises(ValueError, match=r"sum to 1, not \(0.8, 0.3, 0.1\); max_test must be .* not -1"):
        SplitConfig(validation=0.3, max_test=-1)
    with pytest.raises(ValueError, match="must be 0 or more and sum to 1"):
        SplitConfig(train=1.1, validation=-0.1, test=0)
