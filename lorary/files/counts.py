"""Numbers of things in messages, with the noun in the right form."""


def say_count(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number and its noun: ``1 problem``, ``2,000 problems``, ``0 entries``.

    Args:
        number: the number.
        noun: the singular.
        plural: the plural, where it is not ``noun`` with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
