"""The cases that options for doubtful requests are chosen on: examples, some with their expert removed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from task_sets import configure, find_tasks, find_template_of
from transformers import PreTrainedTokenizerBase

from lorary.data import TokenizedExample
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.items import Item

SETS = ("own", "own, no definition", "own expert away", "away, no definition", "other unseen")
SOURCES = ("validation", "validation-bare", "validation", "validation-bare", "other-unseen")
LONGEST = 200  # tokens; longer prompts are truncated in the middle


@dataclass(frozen=True)
class Case:
    """One example under one condition."""

    set: str
    tokens: TokenizedExample
    own: str
    away: str | None
    """The expert that may not be chosen."""

    @property
    def item(self) -> Item:
        """The example in the form that evaluations use."""
        return Item(self.own, self.tokens)


def read_cases(
    tokenizer: PreTrainedTokenizerBase,
    data: Path,
    names: Sequence[str],
    num_tasks: int,
    num_examples: int = 1,
    sets: Sequence[str] = SETS,
) -> list[Case]:
    """Read examples of each of some tasks for each set; tasks are evenly spaced."""
    cases = []
    for name in sets:
        source = SOURCES[SETS.index(name)]
        tasks = find_tasks(data, source)
        listed = list(tasks) if "unseen" in source else [task for task in tasks if task in names]
        chosen = [listed[i * len(listed) // num_tasks] for i in range(min(num_tasks, len(listed)))]
        config = replace(configure(source, num_examples), max_length=LONGEST, truncation="prompt-middle")
        for task in chosen:
            found = choose_examples(tokenizer, task, tasks[task], find_template_of(source), config)
            away = task if "away" in name else None
            cases += [Case(name, tokens, task, away) for tokens in found.tokens.examples]
    return cases
