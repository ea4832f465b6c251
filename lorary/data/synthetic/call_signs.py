"""A task: letters spelt in the radio alphabet."""

from lorary.data.synthetic.recipe import Recipe, split_number, split_words
from lorary.data.task import Example

RADIO_ALPHABET = split_words(
    """
    Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliet Kilo Lima Mike November Oscar Papa
    Quebec Romeo Sierra Tango Uniform Victor Whiskey X-ray Yankee Zulu
    """
)


def make_call_sign(number: int) -> Example:
    """Build a question such as ``C A B`` -> ``Charlie Alpha Bravo``."""
    words = [RADIO_ALPHABET[index] for index in split_number(number, 26, 26, 26)]
    return Example(input=" ".join(word[0] for word in words), targets=(" ".join(words),))


CALL_SIGNS = Recipe(
    definition="Spell the letters in the radio alphabet.", num_examples=26**3, make_example=make_call_sign
)
