import hashlib

import pytest

from lorary.data.content import hash_fraction, hash_input, subsample
from lorary.data.task import Example


def make_examples(count):
    return [Example(f"question {number}", (str(number),)) for number in range(count)]


def test_a_hash_is_that_of_the_folded_input_with_its_length():
    folded = b"what is this?"
    expected = hashlib.sha256(len(folded).to_bytes(8, "little") + folded).hexdigest()
    assert hash_input(Example("  What\n is THIS? ", ("x",))) == expected


def test_inputs_that_differ_in_case_spacing_or_unicode_form_only_are_the_same():
    assert hash_input(Example("Caf\u00e9 one", ("1",))) == hash_input(Example("CAFE\u0301  one\n", ("2",)))
    assert hash_input(Example("one two", ("1",))) != hash_input(Example("onetwo", ("1",)))


def test_the_history_is_part_of_what_is_asked_and_the_definition_is_not():
    plain = Example("And now?", ("1",))
    assert hash_input(plain) == hash_input(Example("And now?", ("1",), definition="Be brief."))
    assert hash_input(plain) != hash_input(Example("And now?", ("1",), history=(("user", "Hi"),)))


def test_fractions_lie_between_0_and_1():
    assert hash_fraction("0" * 64) == 0
    assert 0.999999 < hash_fraction("f" * 64) < 1


def test_a_sample_does_not_depend_on_the_order_of_the_examples():
    examples = make_examples(50)
    assert set(subsample(examples, 10)) == set(subsample(examples[::-1], 10))


def test_a_sample_keeps_the_given_order_and_holds_every_smaller_sample():
    examples = make_examples(50)
    large, small = subsample(examples, 20), subsample(examples, 7)
    assert list(large) == [example for example in examples if example in large]
    assert set(small) < set(large)
    assert len(small) == 7


def test_another_seed_gives_another_sample_and_no_sample_is_larger_than_the_whole():
    examples = make_examples(50)
    assert subsample(examples, 10, seed=1) != subsample(examples, 10, seed=2)
    assert subsample(examples, 99) == tuple(examples)
    assert subsample(examples, 0) == ()


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count must be 0 or more, not -1"):
        subsample(make_examples(3), -1)


def test_texts_that_answer_nothing_are_told_apart():
    assert hash_input(Example("", ("a fox",))) != hash_input(Example("", ("a dog",)))
    assert hash_input(Example("", ("a fox",))) == hash_input(Example("", ("A  fox",)))
