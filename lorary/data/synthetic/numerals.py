"""Numbers written as words, sorted, and read as prices."""

from lorary.data.synthetic.recipe import Recipe, pick_distinct, split_number, split_words
from lorary.data.task import Example

SMALL_NUMBERS = split_words(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen
    """
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
LARGEST_SORTED = 99


def spell_number(number: int) -> str:
    """Write a whole number from 0 to 999 in English words, as in ``'four hundred thirty-two'``."""
    if number < 20:
        return SMALL_NUMBERS[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens] + (f"-{SMALL_NUMBERS[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{SMALL_NUMBERS[hundreds]} hundred" + (f" {spell_number(rest)}" if rest else "")


def make_number_words(number: int) -> Example:
    """Build a question such as ``407`` -> ``four hundred seven``."""
    return Example(input=str(number + 1), targets=(spell_number(number + 1),))


def make_number_sorting(number: int) -> Example:
    """Build a question such as ``47, 8, 62`` -> ``8 < 47 < 62``."""
    places = split_number(number, LARGEST_SORTED, LARGEST_SORTED - 1, LARGEST_SORTED - 2)
    numbers = pick_distinct(range(1, LARGEST_SORTED + 1), places)
    return Example(input=", ".join(map(str, numbers)), targets=(" < ".join(map(str, sorted(numbers))),))


def make_price(number: int) -> Example:
    """Build a question such as ``three dollars and five cents`` -> ``$3.05``."""
    dollars, cents = (index + 2 for index in split_number(number, 98, 98))
    words = f"{spell_number(dollars)} dollars and {spell_number(cents)} cents"
    return Example(input=words, targets=(f"${dollars}.{cents:02d}",))


NUMBER_WORDS = Recipe(
    definition="Write the number in English words.", num_examples=999, make_example=make_number_words
)
NUMBER_SORTING = Recipe(
    definition="Sort the numbers.",
    num_examples=LARGEST_SORTED * (LARGEST_SORTED - 1) * (LARGEST_SORTED - 2),
    make_example=make_number_sorting,
)
PRICES = Recipe(definition="Write the price in figures.", num_examples=98 * 98, make_example=make_price)
