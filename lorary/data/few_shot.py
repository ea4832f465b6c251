"""Few-shot prompts: training examples of a task, with their answers, before each prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lorary.data.chat_template import ChatTemplate
from lorary.data.content import subsample
from lorary.data.reply import Reply
from lorary.data.task import Example, Task
from lorary.data.templates import Template
from lorary.data.turns import Turn
from lorary.errors import DataError
from lorary.files import quote

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BETWEEN = "\n\n"


@dataclass(frozen=True, kw_only=True)
class FewShotTemplate:
    """Another template, with training examples of the task before each prompt.

    They are earlier turns of a chat, or finished texts of the plain template. All prompts of a task have the
    same ones, chosen by content; a prompt is never among its own examples.
    """

    template: Template
    """How each example is written."""
    shots: int
    """Number of examples before a prompt; fewer if the task has fewer."""
    seed: int = 0
    """Seed of the choice."""
    _chosen: dict[int, tuple[Task, tuple[Example, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise ValueError(f"shots must be at least 1, found {self.shots!r}")

    @property
    def with_definition(self) -> bool:
        """Whether prompts begin with the task's definition."""
        return self.template.with_definition

    @property
    def holds_special_tokens(self) -> bool:
        """Whether prompts and replies contain special tokens as text, so that tokenising must add none."""
        return self.template.holds_special_tokens

    def render(self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the examples followed by the prompt; the definition comes before the first example.

        Raises:
            DataError: if the task has no training example with a question.
        """
        if example.is_text or isinstance(self.template, ChatTemplate):
            return self.template.render(task, self._extend(task, example), tokenizer)
        texts = []
        for place, shot in enumerate(shots := self._choose(task, example)):
            stated = task if place == 0 else replace(task, definition="")
            prompt = self.template.render(stated, shot, tokenizer)
            (reply,) = self.template.reply(stated, shot, shot.targets[:1], tokenizer)
            texts.append(f"{prompt}{reply.text}")
        stated = replace(task, definition="") if shots else task
        return BETWEEN.join([*texts, self.template.render(stated, example, tokenizer)])

    def reply(
        self,
        task: Task,
        example: Example,
        answers: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None" = None,
    ) -> list[Reply]:
        """Return each answer as it is written after the prompt."""
        if isinstance(self.template, ChatTemplate):
            example = self._extend(task, example)
        return self.template.reply(task, example, answers, tokenizer)

    def _extend(self, task: Task, example: Example) -> Example:
        """Put the examples of a chat after its system turns and before its other turns."""
        if example.is_text:
            return example
        earlier = [turn for shot in self._choose(task, example) for turn in _list_turns(shot)]
        system = [turn for turn in example.history if turn.role == "system"]
        own = [turn for turn in example.history if turn.role != "system"]
        return replace(example, history=(*system, *earlier, *own))

    def _choose(self, task: Task, example: Example) -> tuple[Example, ...]:
        if id(task) not in self._chosen:
            known = [shot for shot in task.split("train") if not shot.is_text]
            if not known:
                raise DataError(
                    f"task {quote(task.name)} must have training examples with a question for few-shot "
                    "prompts, found only texts: leave out the shots"
                )
            # One more, because the prompt's own example may be among them.
            self._chosen[id(task)] = task, subsample(known, self.shots + 1, self.seed)
        found = [shot for shot in self._chosen[id(task)][1] if shot != example]
        return tuple(found[: self.shots])


def _list_turns(shot: Example) -> Sequence[Turn]:
    question = [Turn("user", shot.input)] if shot.input else []
    return [*shot.history, *question, Turn("assistant", shot.targets[0])]
