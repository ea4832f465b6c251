"""Generated tasks are right, reproducible, and their splits never meet."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from random import Random

import pytest

from lorary.data.synthetic import SYNTHETIC_TASKS, generate_task, generate_tasks, read_synthetic
from lorary.data.synthetic.catalogue import draw_numbers
from lorary.data.synthetic.inflection import NOUNS, VERBS, write_past, write_plural
from lorary.data.synthetic.nouns import IRREGULAR_PLURALS
from lorary.data.synthetic.recipe import pick_distinct, split_number
from lorary.data.synthetic.verbs import DOUBLING_VERBS, IRREGULAR_PASTS
from lorary.data.task import Example

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_VALUES = {word: value for value, word in enumerate(SMALL.split())}
NUMBER_VALUES |= {word: 20 + 10 * place for place, word in enumerate(TENS.split())}


def read_number(words: str) -> int:
    """Read English number words back: the inverse of what the package writes."""
    total = 0
    for word in words.replace("-", " ").split():
        total = total * 100 if word == "hundred" else total + NUMBER_VALUES[word]
    return total


def answer_call_sign(question: str) -> str:
    spoken = (
        "Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliet Kilo Lima Mike November Oscar Papa "
    )
    spoken += "Quebec Romeo Sierra Tango Uniform Victor Whiskey X-ray Yankee Zulu"
    table = {word[0]: word for word in spoken.split()}
    return " ".join(table[letter] for letter in question.split())


def answer_iso_date(question: str) -> str:
    style = "%d %B %Y" if question[0].isdigit() else "%B %d, %Y"
    return datetime.strptime(question, style).date().isoformat()


def answer_metric_units(question: str) -> str:
    found = re.fullmatch(r"How many (\w+) are (\d+) (\w+)\?", question)
    assert found
    small, amount, large = found.groups()
    if large == "euros":
        return f"{int(amount) * 100} ct"
    powers = {"kilo": 3, "centi": -2, "milli": -3}
    symbols = {"meters": "m", "grams": "g", "liters": "l", "seconds": "s"}

    def parse(unit: str) -> tuple[int, str]:
        prefix = next((prefix for prefix in powers if unit.startswith(prefix)), "")
        return powers.get(prefix, 0), prefix[:1] + symbols[unit.removeprefix(prefix)]

    large_power = 6 if large == "tons" else parse(large)[0]
    small_power, symbol = parse(small)
    return f"{int(amount) * 10 ** (large_power - small_power)} {symbol}"


def answer_person_record(question: str) -> str:
    found = re.search(r"\d+", question)
    assert found
    name = question.split(",")[0] if "years" not in question else question.split()[2]
    return json.dumps({"name": name, "age": int(found.group())})


def answer_price(question: str) -> str:
    dollars, cents = question.removesuffix(" cents").split(" dollars and ")
    return f"${read_number(dollars) + read_number(cents) / 100:.2f}"


def answer_number_words(example: Example) -> bool:
    return read_number(example.targets[0]) == int(example.input)


def answers(compute: Callable[[str], str]) -> Callable[[Example], bool]:
    return lambda example: compute(example.input) == example.targets[0]


def is_question_of_statement(example: Example) -> bool:
    name, verb, thing = example.targets[0].removeprefix("Does ").removesuffix("?").split()
    endings = {"teach": "es", "watch": "es", "miss": "es"}
    stem = {"try": "trie", "study": "studie"}.get(verb, verb)
    return example.input == f"{name} {stem}{endings.get(verb, 's')} {thing}."


def is_plural_of_noun(example: Example) -> bool:
    noun = example.input
    regular = re.sub(r"(s|x|z|ch|sh)$", r"\1e", re.sub(r"(?<![aeiou])y$", "ie", noun)) + "s"
    return example.targets[0] == f"one {noun}, two {IRREGULAR_PLURALS.get(noun, regular)}"


def is_past_of_verb(example: Example) -> bool:
    verb = example.input
    past = example.targets[0].removeprefix("Yesterday we ").removesuffix(".")
    if verb in IRREGULAR_PASTS:
        return past == IRREGULAR_PASTS[verb]
    stem = re.sub(r"(?<![aeiou])y$", "i", verb.removesuffix("e"))
    return past in (stem + "ed", stem + stem[-1] + "ed") and (past == stem + "ed" or stem in DOUBLING_VERBS)


CHECKS: dict[str, Callable[[Example], bool]] = {
    "call_signs": answers(answer_call_sign),
    "clock_times": answers(lambda text: datetime.strptime(text.upper(), "%I:%M %p").strftime("%H:%M")),
    "iso_dates": answers(answer_iso_date),
    "metric_units": answers(answer_metric_units),
    "number_sorting": answers(lambda text: " < ".join(sorted(text.split(", "), key=int))),
    "number_words": answer_number_words,
    "past_tense": is_past_of_verb,
    "person_records": answers(answer_person_record),
    "plurals": is_plural_of_noun,
    "prices": answers(answer_price),
    "questions": is_question_of_statement,
    "word_initials": answers(lambda text: "".join(word[0].upper() + "." for word in text.split())),
}


def list_inputs(examples: tuple[Example, ...]) -> list[str]:
    return [example.input for example in examples]


def test_every_generated_task_has_an_independent_check() -> None:
    assert set(CHECKS) == set(SYNTHETIC_TASKS)


@pytest.mark.parametrize("name", SYNTHETIC_TASKS)
def test_answers_agree_with_an_independent_check(name: str) -> None:
    for examples in generate_task(name).splits.values():
        wrong = [example for example in examples if not CHECKS[name](example)]
        assert wrong == []


@pytest.mark.parametrize(
    ("write", "word", "expected"),
    [
        (write_plural, "wolf", "wolves"),
        (write_plural, "child", "children"),
        (write_plural, "roof", "roofs"),
        (write_plural, "box", "boxes"),
        (write_plural, "church", "churches"),
        (write_plural, "berry", "berries"),
        (write_plural, "monkey", "monkeys"),
        (write_past, "sing", "sang"),
        (write_past, "stop", "stopped"),
        (write_past, "visit", "visited"),
        (write_past, "tie", "tied"),
        (write_past, "carry", "carried"),
        (write_past, "enjoy", "enjoyed"),
    ],
)
def test_words_are_inflected_as_english_does(write: Callable[[str], str], word: str, expected: str) -> None:
    assert write(word) == expected


def test_no_noun_and_no_verb_is_listed_twice() -> None:
    assert len(set(NOUNS)) == len(NOUNS)
    assert len(set(VERBS)) == len(VERBS)


@pytest.mark.parametrize("name", SYNTHETIC_TASKS)
def test_no_input_occurs_twice_in_a_task_whatever_the_split(name: str) -> None:
    splits = generate_task(name).splits
    inputs = [text for examples in splits.values() for text in list_inputs(examples)]
    assert len(set(inputs)) == len(inputs) == 496


@pytest.mark.parametrize(
    "name", [name for name, recipe in SYNTHETIC_TASKS.items() if recipe.num_examples < 2000]
)
def test_all_examples_of_a_small_task_have_different_inputs(name: str) -> None:
    size = SYNTHETIC_TASKS[name].num_examples
    task = generate_task(name, train=size, validation=0, test=0)
    assert len(set(list_inputs(task.splits["train"]))) == size


@pytest.mark.parametrize("name", SYNTHETIC_TASKS)
def test_first_and_last_number_of_a_recipe_make_an_example(name: str) -> None:
    recipe = SYNTHETIC_TASKS[name]
    first, last = recipe.make_example(0), recipe.make_example(recipe.num_examples - 1)
    assert first.input != last.input
    assert CHECKS[name](first) and CHECKS[name](last)


def test_one_seed_gives_the_same_tasks_and_another_gives_others() -> None:
    assert generate_tasks(seed=3) == generate_tasks(seed=3)
    for name, task in generate_tasks(seed=3).items():
        assert task.splits["test"] != generate_task(name, seed=4).splits["test"]


def test_another_process_with_another_hash_seed_generates_the_same() -> None:
    code = (
        "from lorary.data.synthetic import generate_task;"
        "print([example.input for example in generate_task('prices').splits['test']])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(list_inputs(generate_task("prices").splits["test"]))


def test_sizes_are_honoured_and_a_larger_training_split_leaves_the_others_alone() -> None:
    small = generate_task("iso_dates", train=5, validation=3, test=2).splits
    large = generate_task("iso_dates", train=50, validation=3, test=2).splits
    assert {split: len(examples) for split, examples in small.items()} == {
        "train": 5,
        "validation": 3,
        "test": 2,
    }
    assert small["test"] == large["test"] and small["validation"] == large["validation"]
    assert small["train"] == large["train"][:5]


def test_tasks_come_in_the_order_asked_for_with_name_and_definition() -> None:
    tasks = generate_tasks(["prices", "call_signs"], train=2, validation=1, test=1)
    assert list(tasks) == ["prices", "call_signs"]
    for name, task in tasks.items():
        assert task.name == name
        assert task.definition == SYNTHETIC_TASKS[name].definition != ""


def test_drawing_all_numbers_gives_each_once() -> None:
    assert sorted(draw_numbers(Random(0), 50, 50)) == list(range(50))
    assert draw_numbers(Random(0), 50, 20) == draw_numbers(Random(0), 50, 50)[:20]


def test_split_numbers_and_distinct_picks_reach_every_combination_once() -> None:
    picks = {tuple(pick_distinct("abcd", split_number(number, 4, 3))) for number in range(12)}
    assert len(picks) == 12
    assert all(first != second for first, second in picks)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no synthetic task is named 'plural': did you mean 'plurals'"):
        generate_task("plural")


def test_more_examples_than_there_are_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"'number_words' has 999 examples, but 1000 were requested \(train 900, validation 0",
    ):
        generate_task("number_words", train=900, validation=0, test=100)


def test_a_negative_size_is_refused_by_split() -> None:
    with pytest.raises(ValueError, match="the validation split of 'prices' must be 0 or more, found -1"):
        generate_task("prices", validation=-1)


def test_names_given_as_one_string_are_refused() -> None:
    with pytest.raises(ValueError, match="names must be a list of task names, not the string 'prices'"):
        generate_tasks("prices")


@pytest.mark.parametrize("kind", ["synthetic", "generated"])
def test_a_place_stands_for_one_task_or_all(kind):
    """Files written by earlier versions say 'generated'."""
    assert [task.name for task in read_synthetic(kind)] == list(SYNTHETIC_TASKS)
    (task,) = read_synthetic(f"{kind}:plurals")
    assert task == generate_task("plurals")


def test_other_places_are_no_synthetic_tasks():
    assert read_synthetic("generated.jsonl") is None
    assert read_synthetic("hf:synthetic/task") is None


def test_a_place_of_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match=r"no synthetic task is named 'plural': did you mean 'plurals'"):
        read_synthetic("synthetic:plural")
