"""Questions about metric units, whose answers only move the decimal point."""

from lorary.data.synthetic.recipe import Recipe, split_number
from lorary.data.task import Example

# large unit, small unit, its symbol, how many small units make a large one
CONVERSIONS = (
    ("kilometers", "meters", "m", 1000),
    ("meters", "centimeters", "cm", 100),
    ("meters", "millimeters", "mm", 1000),
    ("centimeters", "millimeters", "mm", 10),
    ("kilograms", "grams", "g", 1000),
    ("grams", "milligrams", "mg", 1000),
    ("tons", "kilograms", "kg", 1000),
    ("liters", "milliliters", "ml", 1000),
    ("liters", "centiliters", "cl", 100),
    ("seconds", "milliseconds", "ms", 1000),
    ("euros", "cents", "ct", 100),
)
SMALLEST_AMOUNT, LARGEST_AMOUNT = 2, 99


def make_unit_question(number: int) -> Example:
    """Build a question such as ``How many grams are 7 kilograms?`` -> ``7000 g``."""
    which, extra = split_number(number, len(CONVERSIONS), LARGEST_AMOUNT - SMALLEST_AMOUNT + 1)
    large, small, symbol, factor = CONVERSIONS[which]
    amount = SMALLEST_AMOUNT + extra
    return Example(input=f"How many {small} are {amount} {large}?", targets=(f"{amount * factor} {symbol}",))


METRIC_UNITS = Recipe(
    definition="Convert the amount.",
    num_examples=len(CONVERSIONS) * (LARGEST_AMOUNT - SMALLEST_AMOUNT + 1),
    make_example=make_unit_question,
)
