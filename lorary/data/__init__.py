"""Tasks and examples: reading, splitting by content, and turning into prompts and tokens."""

from lorary.data.content import subsample
from lorary.data.few_shot import FewShotTemplate
from lorary.data.gather import TaskLike, gather_tasks
from lorary.data.mixture import mix_tasks
from lorary.data.readers import read_task
from lorary.data.splits import SplitConfig
from lorary.data.task import Example, Task
from lorary.data.templates import PlainTemplate, Template, find_template
from lorary.data.tokens import TokenizedExample, tokenize_examples

__all__ = [
    "Example",
    "FewShotTemplate",
    "PlainTemplate",
    "SplitConfig",
    "Task",
    "TaskLike",
    "Template",
    "TokenizedExample",
    "find_template",
    "gather_tasks",
    "mix_tasks",
    "read_task",
    "subsample",
    "tokenize_examples",
]
