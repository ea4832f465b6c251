"""The tokenizer's own chat template: prompts, and answers as written in the finished conversation."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lorary.data.conversation import list_messages, load_tools, make_answer, merge_system
from lorary.data.reply import Reply, find_common_start
from lorary.data.task import Example, Task
from lorary.data.template_names import list_arguments, list_given
from lorary.errors import DataError, suggest
from lorary.files import escape, quote

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Placeholder of an answer, used to find what a template writes around it; from Unicode's private use area.
MARK = "\ue000answer\ue000"

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """The tokenizer's own chat template. Definition and input are the user's turn, the answer the reply."""

    with_definition: bool = True
    """Whether prompts begin with the task's definition."""
    template_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of the tokenizer's template, such as ``{"enable_thinking": False}``."""

    holds_special_tokens = True

    def render(self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the conversation up to the beginning of the assistant's answer.

        Raises:
            ValueError: if no tokenizer is given.
            DataError: if the tokenizer has no chat template, the template does not use one of the arguments,
                or it refuses the conversation.
        """
        return "" if example.is_text else self._open(task, example, tokenizer)[0]

    def reply(
        self,
        task: Task,
        example: Example,
        answers: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None" = None,
    ) -> list[Reply]:
        """Return answers as the template writes them into the finished conversation.

        Raises:
            ValueError: if no tokenizer is given.
            DataError: as ``render``, or if the template does not write the assistant's answers.
        """
        if example.is_text:
            return [Reply(answer) for answer in answers]
        prompt, messages = self._open(task, example, tokenizer)
        assert tokenizer is not None
        tools = load_tools(example)

        def finish(answer: Mapping[str, Any]) -> str:
            return self._write(tokenizer, [*messages, answer], tools, add_generation_prompt=False)

        before, mark, ending = finish({"role": "assistant", "content": MARK}).partition(MARK)
        if not mark:
            raise DataError(
                f"the chat template of {quote(tokenizer.name_or_path)} must write the assistant's answers, "
                "but leaves them out: use template 'plain'"
            )
        messages_of = [make_answer(example, answer) for answer in answers]
        wholes = [finish(message) for message in messages_of]
        for message, whole in zip(messages_of, wholes, strict=True):
            if message.get("tool_calls") and finish(_without_calls(message)) == whole:
                raise DataError(_explain_left_out(tokenizer, "tool calls"))
        replies = [_cut_reply(prompt, before, whole, ending) for whole in wholes]
        has_system = any(turn.role == "system" for turn in example.history)
        is_merged = has_system and all(message["role"] != "system" for message in messages)
        return [reply._replace(is_merged=is_merged) for reply in replies]

    def _open(
        self, task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase | None"
    ) -> tuple[str, Messages]:
        """Return the prompt and the messages that it was written from."""
        if tokenizer is None:
            raise ValueError("a chat template needs its tokenizer, found None: pass tokenizer=")
        self._check(tokenizer)
        messages = list_messages(example, task.definition_of(example) if self.with_definition else "")
        tools = load_tools(example)
        prompt, messages = self._write_prompt(tokenizer, messages, tools)
        self._check_tools(tokenizer, messages, tools, prompt)
        return prompt, messages

    def _write_prompt(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return the prompt, and the messages in the form that the template accepts."""
        try:
            return self._write(tokenizer, messages, tools, add_generation_prompt=True), messages
        except DataError:
            merged = merge_system(messages)
            # If this form is refused too, the error about the original conversation is raised.
            with suppress(DataError):
                if merged != messages:
                    return self._write(tokenizer, merged, tools, add_generation_prompt=True), merged
            raise

    def _check_tools(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        messages: Messages,
        tools: list[dict[str, Any]] | None,
        prompt: str,
    ) -> None:
        """Check that the template writes tools and their calls, which must change the prompt."""
        silent = [_without_calls(message) for message in messages]
        without: dict[str, tuple[Messages, list[dict[str, Any]] | None]] = {}
        if tools:
            without["tools"] = messages, None
        if silent != list(messages):
            without["tool calls"] = silent, tools
        for what, (some, some_tools) in without.items():
            if self._write(tokenizer, some, some_tools, add_generation_prompt=True) == prompt:
                raise DataError(_explain_left_out(tokenizer, what))

    def _write(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        messages: Messages,
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool,
    ) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tools=tools,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    **self.template_args,
                )
            )
        # A template is a program, which may raise any error on input that it does not expect.
        except Exception as error:
            reason = escape(str(error), keep="", longest=200)
            raise DataError(
                f"the chat template of {quote(tokenizer.name_or_path)} refuses a conversation ({reason}): "
                "use template 'plain', or leave such conversations out"
            ) from error

    def _check(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Check that the tokenizer has a template, and that the template uses all arguments."""
        found = getattr(tokenizer, "chat_template", None)
        if not found:
            raise DataError(
                f"the tokenizer of {quote(tokenizer.name_or_path)} has no chat template: use template 'plain'"
            )
        if not self.template_args:
            return
        # Jinja accepts any argument, and does not report those that the template does not use.
        given = list_given(tokenizer)
        known = list_arguments(found.values() if isinstance(found, Mapping) else [found], given)
        for name in self.template_args:
            if name in given:
                raise DataError(f"template argument {quote(name, 60)} is set from the data: leave it out")
            if known is not None and name not in known:
                advice = suggest(name, known) if known else "it reads none"
                raise DataError(
                    f"the chat template of {quote(tokenizer.name_or_path)} does not read the argument "
                    f"{quote(name, 60)}: {advice}"
                )


def _without_calls(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if "tool_calls" not in message:
        return message
    # Many templates need the key "content".
    return {"content": "", **{name: value for name, value in message.items() if name != "tool_calls"}}


def _explain_left_out(tokenizer: "PreTrainedTokenizerBase", what: str) -> str:
    return (
        f"the chat template of {quote(tokenizer.name_or_path)} leaves out the {what} of a conversation: use "
        "template 'plain', or leave such conversations out"
    )


def _cut_reply(prompt: str, before: str, whole: str, ending: str) -> Reply:
    """Divide a complete conversation into prompt, opening, answer and ending.

    Args:
        prompt: the text up to the beginning of the assistant's answer.
        before: the text that the template writes before a plain answer in the finished conversation.
        whole: the finished conversation.
        ending: the text that it writes after a plain answer.
    """
    is_rewritten = not whole.startswith(prompt)
    # An answer with reasoning or tool calls may begin within the text that precedes a plain answer.
    start = len(find_common_start([before, whole]))
    opening = "" if is_rewritten else whole[len(prompt) : start]
    # A space belongs to the following word, because tokenizers join them in one token.
    opening = opening.rstrip(" ")
    rest = whole[start:] if is_rewritten else whole[len(prompt) + len(opening) :]
    if ending and rest.endswith(ending):
        return Reply(rest[: -len(ending)], opening, ending, is_rewritten)
    return Reply(rest, opening, "", is_rewritten)
