"""Two tasks: dates and times of day, converted to standard formats."""

from datetime import date, timedelta

from lorary.data.synthetic.recipe import Recipe, split_number, split_words
from lorary.data.task import Example

MONTHS = split_words(
    """
    January February March April May June July August September October November December
    """
)
FIRST_DAY = date(1900, 1, 1)
NUM_DAYS = (date(2100, 1, 1) - FIRST_DAY).days


def make_iso_date(number: int) -> Example:
    """Build a question such as ``March 3, 1987`` or ``3 March 1987`` -> ``1987-03-03``.

    Each day occurs in one of the two ways only, so that no split has the answer to another split's question.
    """
    day = FIRST_DAY + timedelta(days=number)
    month = MONTHS[day.month - 1]
    text = f"{month} {day.day}, {day.year}" if day.toordinal() % 2 else f"{day.day} {month} {day.year}"
    return Example(input=text, targets=(f"{day.year:04d}-{day.month:02d}-{day.day:02d}",))


def make_clock_time(number: int) -> Example:
    """Build a question such as ``7:45 pm`` -> ``19:45``."""
    hour, minute = split_number(number, 24, 60)
    text = f"{hour % 12 or 12}:{minute:02d} {'pm' if hour >= 12 else 'am'}"
    return Example(input=text, targets=(f"{hour:02d}:{minute:02d}",))


ISO_DATES = Recipe(
    definition="Write the date in ISO format.", num_examples=NUM_DAYS, make_example=make_iso_date
)
CLOCK_TIMES = Recipe(
    definition="Write the time on the 24-hour clock.", num_examples=24 * 60, make_example=make_clock_time
)
