"""From an example to the prompt a model reads, and to the text of an answer as it follows that prompt."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from lorary.data.conversation import list_messages, load_tools
from lorary.data.task import Example, Task
from lorary.data.turns import Turn, write_tools
from lorary.errors import DataError, suggest
from lorary.files import escape, quote, shorten

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Template(Protocol):
    """How an example is put to a model."""

    @property
    def with_definition(self) -> bool:
        """Whether prompts open with the task's definition."""

    @property
    def holds_special_tokens(self) -> bool:
        """Whether prompts already spell out special tokens, so that tokenising must add none."""

    def render(self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the prompt: everything before the answer. An example that asks nothing has none."""

    def attach(self, answer: str) -> str:
        """Return ``answer`` as it stands right after the prompt."""


@dataclass(frozen=True, kw_only=True)
class PlainTemplate:
    """Definition, input and a cue, as plain text; the answer follows after one space."""

    with_definition: bool = True
    """Whether prompts open with the task's definition."""
    cue: str = "Answer:"
    """The words, on a line of their own, that ask for the answer."""

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

    def attach(self, answer: str) -> str:
        """Return the answer with the space that parts it from the prompt; nothing stays nothing."""
        return f" {answer}" if answer else ""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """The tokenizer's own chat template: definition and input are the user's turn, the answer the reply."""

    with_definition: bool = True
    """Whether prompts open with the task's definition."""

    holds_special_tokens = True

    def render(self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the conversation up to where the assistant begins to speak.

        Raises:
            ValueError: if no tokenizer is given.
            DataError: if the tokenizer has no chat template, or it refuses the conversation.
        """
        # Here, not above: tokenizers alone need it, and plain prompts no tokenizer.
        from jinja2 import TemplateError

        if example.is_text:
            return ""
        if tokenizer is None:
            raise ValueError("the chat template belongs to a tokenizer: give one to render")
        if not getattr(tokenizer, "chat_template", None):
            raise DataError(
                f"the tokenizer of {quote(tokenizer.name_or_path)} has no chat template: use template 'plain'"
            )
        messages = list_messages(example, task.definition_of(example) if self.with_definition else "")
        try:
            return str(
                tokenizer.apply_chat_template(
                    messages, tools=load_tools(example), tokenize=False, add_generation_prompt=True
                )
            )
        except TemplateError as error:
            reason = shorten(escape(str(error), keep=""))
            raise DataError(
                f"the chat template of {quote(tokenizer.name_or_path)} refuses a conversation ({reason}): "
                "use template 'plain', or leave such conversations out"
            ) from error

    def attach(self, answer: str) -> str:
        """Return the answer as it is: the chat template has ended the line before."""
        return answer


TEMPLATES: dict[str, PlainTemplate | ChatTemplate] = {"plain": PlainTemplate(), "chat": ChatTemplate()}


def find_template(name: str, *, with_definition: bool = True) -> Template:
    """Return the template called ``name``, with or without definitions in its prompts.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in TEMPLATES:
        raise ValueError(f"there is no template {quote(name, 60)}: {suggest(name, TEMPLATES)}")
    return replace(TEMPLATES[name], with_definition=with_definition)
