"""Plurals of nouns and past tenses of verbs, regular and irregular."""

from lorary.data.synthetic.nouns import IRREGULAR_PLURALS, REGULAR_NOUNS
from lorary.data.synthetic.recipe import Recipe
from lorary.data.synthetic.verbs import DOUBLING_VERBS, IRREGULAR_PASTS, REGULAR_VERBS
from lorary.data.task import Example

NOUNS = (*IRREGULAR_PLURALS, *REGULAR_NOUNS)
VERBS = (*IRREGULAR_PASTS, *DOUBLING_VERBS, *REGULAR_VERBS)
VOWELS = "aeiou"


def write_plural(noun: str) -> str:
    """Write the plural of one of ``NOUNS``."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def write_past(verb: str) -> str:
    """Write the past tense of one of ``VERBS``."""
    if verb in IRREGULAR_PASTS:
        return IRREGULAR_PASTS[verb]
    if verb in DOUBLING_VERBS:
        return verb + verb[-1] + "ed"
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + "ed"


def make_plural(number: int) -> Example:
    """Build a question such as ``wolf`` -> ``one wolf, two wolves``."""
    noun = NOUNS[number]
    return Example(input=noun, targets=(f"one {noun}, two {write_plural(noun)}",))


def make_past_tense(number: int) -> Example:
    """Build a question such as ``sing`` -> ``Yesterday we sang.``."""
    verb = VERBS[number]
    return Example(input=verb, targets=(f"Yesterday we {write_past(verb)}.",))


PLURALS = Recipe(definition="Count the noun up to two.", num_examples=len(NOUNS), make_example=make_plural)
PAST_TENSE = Recipe(
    definition="Say that we did it yesterday.", num_examples=len(VERBS), make_example=make_past_tense
)
