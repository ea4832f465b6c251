"""The new tasks of examples/few_shot.py, and their few examples."""

import random
from dataclasses import replace
from pathlib import Path

from natural_instructions import LONGEST, read_tasks

import lorary
from lorary.adaptation import hold_out
from lorary.data import Task, find_template
from lorary.models import BaseModel
from lorary.training import TrainingExamples, prepare_examples

TEMPLATE = find_template("plain")
NUM_OWN = 4
"""Training examples of each expert's own task with which retrieval by embedding compares prompts."""

# Of the tested half of examples/task_sets.py (every second task that no expert saw): one per source, at least
# 100 examples to draw from and 19 to test with, short prompts (30 to 145 tokens with the definition).
TASKS = {
    "test": (
        "task033_winogrande_answer_generation",
        "task1147_country_currency",
        "task1530_scitail1.1_sentence_generation",
        "task1581_eqasc-perturbed_answer_generation",
        "task184_snli_entailment_to_neutral_text_modification",
        "task647_answer_generation",
        "task899_freebase_qa_topic_generation",
        "task967_ruletaker_incorrect_fact_generation_based_on_given_paragraph",
    ),
    "choice": (
        "task1580_eqasc-perturbed_question_generation",
        "task897_freebase_qa_topic_question_generation",
        "task1317_country_calling_code",
    ),
}


def read_few(data: Path, names: tuple[str, ...], num_examples: int, seed: int) -> dict[str, Task]:
    """Read the new tasks with a few training examples, of which one in five is held out for validation."""
    found = {}
    for name in names:
        task = lorary.read_task(data / "natural_instructions" / "tasks" / f"{name}.json.xz", name=name)
        few = random.Random(f"{seed} {name}").sample(task.splits["train"], num_examples)
        splits = {"train": tuple(few), "test": task.splits["test"]}
        found[name] = hold_out(replace(task, splits=splits))
    return found


def prepare(base: BaseModel, tasks: dict[str, Task]) -> dict[str, TrainingExamples]:
    """Tokenise the tasks' examples."""
    return prepare_examples(base.tokenizer, tasks, TEMPLATE, max_length=LONGEST, truncation="skip")


def read_own(data: Path, base: BaseModel) -> dict[str, TrainingExamples]:
    """Read some examples of the tasks that the library's experts were trained on."""
    tasks = read_tasks(data)
    few = {name: {"train": task.splits["train"][:NUM_OWN]} for name, task in tasks.items()}
    return prepare(base, {name: replace(task, splits=few[name]) for name, task in tasks.items()})
