import pytest

from lorary.data.readers.row_format import take_index, take_text, take_texts


def test_text_is_stripped_and_its_line_ends_are_one_character():
    assert take_text({"a": " x\r\ny \r\n"}, "a") == "x\ny"


@pytest.mark.parametrize(("value", "first", "index"), [(1, 0, 1), ("1", 1, 0), (" 2 ", 0, 2), (0, 0, 0)])
def test_an_index_may_be_a_number_or_digits(value, first, index):
    assert take_index({"label": value}, "label", 3, first) == index


@pytest.mark.parametrize("value", ["", -1, 3, "x", None, 1.0, [1], True, 10**30, "9" * 10**6, "1" * 10, {}])
def test_a_label_that_names_no_answer_is_refused(value):
    with pytest.raises(ValueError, match=r"'label' must name the right answer, a number from 0 to 2, not "):
        take_index({"label": value}, "label", 3)


def test_a_field_that_is_missing_blank_or_no_text_is_refused():
    with pytest.raises(ValueError, match=r"the row must have field 'a', found 'b', 'c'"):
        take_text({"b": 1, "c": 2}, "a")
    with pytest.raises(ValueError, match="'a' is empty"):
        take_text({"a": " \n"}, "a")
    with pytest.raises(ValueError, match="'a' must be text, not 3"):
        take_text({"a": 3}, "a")
    with pytest.raises(ValueError, match="'a' must be a list of texts, not 'x'"):
        take_texts({"a": "x"}, "a")


@pytest.mark.parametrize("take", [take_text, lambda row, key: take_texts({key: ["x", row[key]]}, key)])
def test_half_a_surrogate_pair_is_refused(take):
    """Guards against text that a tokenizer or a file refuses hours later."""
    with pytest.raises(ValueError, match=r"'a' must be Unicode text: half of a surrogate pair .*'b.ud800c'"):
        take({"a": "b\ud800c"}, "a")


def test_messages_stay_short_and_printable():
    hostile = "\x1b[2J" * 10**6
    for row in ({hostile: 1}, {"a": [3, hostile]}, {f"{number}\x1b": 1 for number in range(10**5)}):
        for take in (take_text, take_texts):
            with pytest.raises(ValueError, match=r"field|must be") as caught:
                take(row, "a")
            assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


def test_control_characters_are_data():
    assert take_text({"a": "x\x1b[0m\0y"}, "a") == "x\x1b[0m\0y"
