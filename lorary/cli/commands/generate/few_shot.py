"""Examples with their answers, placed before a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from jsonargparse import Namespace
from transformers import PreTrainedTokenizerBase

from lorary.data import Example, Task, Template, read_task, subsample
from lorary.data.chat_template import ChatTemplate
from lorary.data.synthetic import read_synthetic
from lorary.data.turns import Turn
from lorary.errors import DataError
from lorary.files import quote

BETWEEN = "\n\n"


@dataclass(frozen=True)
class Shots:
    """The examples before a prompt."""

    examples: tuple[Example, ...] = ()
    """The examples."""
    definition: str = ""
    """The definition of their task, which is said once, at the beginning."""


def read_shots(options: Namespace) -> Shots:
    """Read the examples of ``--few-shot``; none without it.

    Raises:
        ValueError: if the number is too small.
        DataError: if the place cannot be read, is of several tasks, or has no question.
    """
    place = options.few_shot
    if place is None:
        return Shots()
    if options.shots < 1:
        raise ValueError(f"--shots must be at least 1, found {quote(options.shots)}")
    tasks = read_synthetic(place) or [read_task(place)]
    if len(tasks) > 1:
        raise DataError(f"--few-shot takes the examples of one task, found {len(tasks)} in {quote(place)}")
    known = [example for examples in tasks[0].splits.values() for example in examples if not example.is_text]
    if not known:
        raise DataError(f"{quote(place)} has texts without questions: --few-shot takes questions and answers")
    return Shots(subsample(known, options.shots, options.seed or 0), tasks[0].definition)


def render_after(shots: Shots, prompt: str, template: Template, tokenizer: PreTrainedTokenizerBase) -> str:
    """Render a prompt after examples: earlier turns of a chat, or finished texts of the plain template."""
    asked = Example(prompt, ("unknown",))
    task = Task("prompt", {"test": (asked,)}, definition=shots.definition)
    if isinstance(template, ChatTemplate):
        turns = tuple(turn for shot in shots.examples for turn in _list_turns(shot))
        return template.render(task, Example(prompt, ("unknown",), history=turns), tokenizer)
    texts = []
    for place, example in enumerate((*shots.examples, asked)):
        # The definition stands before the first example.
        stated = task if place == 0 else Task("prompt", {"test": (asked,)})
        reply = (
            template.reply(stated, example, example.targets[:1], tokenizer)[0].text
            if example is not asked
            else ""
        )
        texts.append(f"{template.render(stated, example, tokenizer)}{reply}")
    return BETWEEN.join(texts)


def _list_turns(shot: Example) -> Sequence[Turn]:
    question = [Turn("user", shot.input)] if shot.input else []
    return [*shot.history, *question, Turn("assistant", shot.targets[0])]
