"""The initials of three everyday words."""

from lorary.data.synthetic.recipe import Recipe, pick_distinct, split_number
from lorary.data.synthetic.words import WORDS_BY_INITIAL
from lorary.data.task import Example

INITIALS = tuple(WORDS_BY_INITIAL)
NUM_INITIALS = len(INITIALS)
NUM_WORDS = len(WORDS_BY_INITIAL["a"])
NUM_WORD_TRIPLES = NUM_INITIALS * (NUM_INITIALS - 1) * (NUM_INITIALS - 2) * NUM_WORDS**3


def pick_three_words(number: int) -> list[str]:
    """Pick the three words of a number in ``range(NUM_WORD_TRIPLES)``; their first letters all differ."""
    sizes = (NUM_INITIALS, NUM_INITIALS - 1, NUM_INITIALS - 2, NUM_WORDS, NUM_WORDS, NUM_WORDS)
    indices = split_number(number, *sizes)
    initials = pick_distinct(INITIALS, indices[:3])
    return [WORDS_BY_INITIAL[initial][index] for initial, index in zip(initials, indices[3:], strict=True)]


def make_initials(number: int) -> Example:
    """Build a question such as ``river apple moon`` -> ``R.A.M.``."""
    words = pick_three_words(number)
    return Example(input=" ".join(words), targets=("".join(f"{word[0].upper()}." for word in words),))


WORD_INITIALS = Recipe(
    definition="Give the initials of the words.", num_examples=NUM_WORD_TRIPLES, make_example=make_initials
)
