"""Templates: turning an example into a prompt, and an answer into the text that follows the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from lorary.data.chat_template import ChatTemplate
from lorary.data.reply import Reply
from lorary.data.task import Example, Task
from lorary.data.turns import Turn, write_tools
from lorary.errors import suggest
from lorary.files import quote

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Template(Protocol):
    """Turns examples into prompts, and answers into replies."""

    @property
    def with_definition(self) -> bool:
        """Whether prompts begin with the task's definition."""

    @property
    def holds_special_tokens(self) -> bool:
        """Whether prompts and replies contain special tokens as text, so that tokenising must add none."""

    def render(self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the prompt: everything before the answer; ``''`` for an example without a question."""

    def reply(
        self,
        task: Task,
        example: Example,
        answers: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None" = None,
    ) -> list[Reply]:
        """Return each answer as it is written after the prompt; unchanged if there is no question."""


@dataclass(frozen=True, kw_only=True)
class PlainTemplate:
    """Definition, input and a cue, as plain text; the answer follows after one space."""

    with_definition: bool = True
    """Whether prompts begin with the task's definition."""
    cue: str = "Answer:"
    """The text on the last line of a prompt, which asks for the answer."""

    holds_special_tokens = False

    def render(self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the prompt: definition, system turns, tools, earlier turns, input and cue."""
        if example.is_text:
            return ""
        definition = task.definition_of(example) if self.with_definition else ""
        instructions = [turn.text for turn in example.history if turn.role == "system"]
        turns = [turn for turn in example.history if turn.role != "system"]
        cue = self.cue if example.cue is None else example.cue
        if turns:
            turns += [Turn("user", example.input)] if example.input else []
            body = "\n".join(f"{turn.role.capitalize()}: {turn.plain}" for turn in turns)
            cue = "Assistant:"
        else:
            body = example.input if example.plain is None else example.plain
        opening = (definition, *instructions, write_tools(example.tools))
        prompt = "\n\n".join(part for part in (*opening, body) if part)
        return f"{prompt}\n{cue}" if cue else prompt

    def reply(
        self,
        task: Task,
        example: Example,
        answers: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None" = None,
    ) -> list[Reply]:
        """Return answers with the space that separates them from the prompt; an empty answer stays empty."""
        space = "" if example.is_text else " "
        return [Reply(f"{space}{answer}" if answer else "") for answer in answers]


TEMPLATES: dict[str, PlainTemplate | ChatTemplate] = {"plain": PlainTemplate(), "chat": ChatTemplate()}


def find_template(
    name: str, *, with_definition: bool = True, template_args: Mapping[str, Any] | None = None
) -> Template:
    """Return the template called ``name``.

    Args:
        name: a key of ``TEMPLATES``.
        with_definition: whether its prompts begin with the task's definition.
        template_args: arguments of the tokenizer's chat template.

    Raises:
        ValueError: if there is no template of that name, or it takes no arguments.
    """
    if name not in TEMPLATES:
        raise ValueError(f"there is no template {quote(name, 60)}: {suggest(name, TEMPLATES)}")
    found = replace(TEMPLATES[name], with_definition=with_definition)
    if not template_args:
        return found
    if not isinstance(found, ChatTemplate):
        raise ValueError(
            f"template {quote(name, 60)} takes no arguments, found {quote(sorted(template_args))}: leave "
            "them out, or use template 'chat'"
        )
    return replace(found, template_args=dict(template_args))
