"""Sentences about people: turn one into a question, or extract a JSON record from it."""

import json

from lorary.data.synthetic.recipe import Recipe, split_number, split_words
from lorary.data.task import Example

NAMES = split_words(
    """
    Anna Ben Clara David Emma Frank Grace Henry Irene Jack Kate Leo Maria Noah Olivia Paul Rosa Sam Tina
    Victor Alice Bruno Carla Daniel Elena Felix Helen Ivan Julia Karl Laura Martin Nora Oscar Peter Rita
    Simon Tom Vera Will
    """
)
CITIES = split_words(
    """
    Paris London Madrid Rome Berlin Vienna Dublin Oslo Lisbon Athens Prague Cairo Tokyo Boston Chicago
    Denver Dallas Toronto Sydney Delhi
    """
)
JOBS = split_words(
    """
    baker teacher doctor farmer painter singer writer pilot nurse driver lawyer gardener plumber tailor
    sailor cook
    """
)
VERBS = split_words("play like teach watch need miss enjoy want try choose hate study love")
THINGS = split_words(
    """
    chess tennis music football coffee history dancing soup poetry films gardening science cards swimming
    art jazz
    """
)
YOUNGEST, OLDEST = 18, 79


def write_third_person(verb: str) -> str:
    """Write a regular verb as it follows *she*: ``watch`` -> ``watches``."""
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def make_question(number: int) -> Example:
    """Build a question such as ``Anna teaches chess.`` -> ``Does Anna teach chess?``."""
    name, verb, thing = split_number(number, len(NAMES), len(VERBS), len(THINGS))
    statement = f"{NAMES[name]} {write_third_person(VERBS[verb])} {THINGS[thing]}."
    return Example(input=statement, targets=(f"Does {NAMES[name]} {VERBS[verb]} {THINGS[thing]}?",))


def make_person_record(number: int) -> Example:
    """Build a question such as ``Anna, 34, is a baker in Rome.`` -> ``{"name": "Anna", "age": 34}``."""
    num_ages = OLDEST - YOUNGEST + 1
    name, years, job, city, style = split_number(number, len(NAMES), num_ages, len(JOBS), len(CITIES), 2)
    age = YOUNGEST + years
    if style:
        text = f"The {JOBS[job]} {NAMES[name]} from {CITIES[city]} is {age} years old."
    else:
        text = f"{NAMES[name]}, {age}, is a {JOBS[job]} in {CITIES[city]}."
    return Example(input=text, targets=(json.dumps({"name": NAMES[name], "age": age}),))


QUESTIONS = Recipe(
    definition="Turn the statement into a question.",
    num_examples=len(NAMES) * len(VERBS) * len(THINGS),
    make_example=make_question,
)
PERSON_RECORDS = Recipe(
    definition="Extract name and age as JSON.",
    num_examples=len(NAMES) * (OLDEST - YOUNGEST + 1) * len(JOBS) * len(CITIES) * 2,
    make_example=make_person_record,
)
