"""Tasks and their examples: reading them, splitting them by content, turning them into prompts and tokens."""

from lorary.data.content import hash_examples, hash_input, subsample
from lorary.data.mixture import mix_tasks
from lorary.data.readers import FORMATS, RowFormat, read_task
from lorary.data.splits import SplitConfig, drop_duplicates, drop_overlap, split_examples
from lorary.data.task import SPLIT_NAMES, Example, Task
from lorary.data.templates import TEMPLATES, ChatTemplate, PlainTemplate, Template, find_template
from lorary.data.tokens import (
    TokenizedExample,
    TokenizedExamples,
    tokenize_answers,
    tokenize_choices,
    tokenize_example,
    tokenize_examples,
)

__all__ = [
    "FORMATS",
    "SPLIT_NAMES",
    "TEMPLATES",
    "ChatTemplate",
    "Example",
    "PlainTemplate",
    "RowFormat",
    "SplitConfig",
    "Task",
    "Template",
    "TokenizedExample",
    "TokenizedExamples",
    "drop_duplicates",
    "drop_overlap",
    "find_template",
    "hash_examples",
    "hash_input",
    "mix_tasks",
    "read_task",
    "split_examples",
    "subsample",
    "tokenize_answers",
    "tokenize_choices",
    "tokenize_example",
    "tokenize_examples",
]
