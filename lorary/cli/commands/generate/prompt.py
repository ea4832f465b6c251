"""The prompt of ``lorary generate``: read from stdin, and put into a template."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import Namespace
from transformers import PreTrainedTokenizerBase

from lorary.assembly import RoutedModel
from lorary.cli.template_options import read_template_args
from lorary.cli.trained_prompts import list_trained_prompts
from lorary.data import Example, FewShotTemplate, Task, Template, find_template
from lorary.data.encoding import encode_prompt, encode_texts
from lorary.library.entry import Entry

# In characters: more than any base model's context, but not enough to fill the memory.
MAX_PROMPT = 10_000_000


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """The template of a prompt."""

    name: str
    """``"plain"``, ``"chat"``, or ``"none"`` for the prompt as it is."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """The chat template's arguments."""
    reason: str | None = None
    """Why it was chosen, for the user; None if the user named it, or the experts' cards name none."""


def read_prompt() -> str:
    """Read the prompt from stdin.

    Raises:
        ValueError: if it is longer than ``MAX_PROMPT``, or not UTF-8.
    """
    try:
        prompt = sys.stdin.read(MAX_PROMPT + 1)
        prompt.encode()
    except UnicodeError as error:
        raise ValueError(f"the prompt on stdin must be UTF-8 text ({error}): convert it") from error
    if len(prompt) > MAX_PROMPT:
        raise ValueError(f"the prompt on stdin must have at most {MAX_PROMPT:,} characters: shorten it")
    return prompt.rstrip("\n")


def choose_template(options: Namespace, entries: Iterable[Entry]) -> PromptTemplate:
    """Choose the template of ``--template``, else the one that the experts were trained with.

    Args:
        options: of the command.
        entries: the experts that may answer.

    Raises:
        ValueError: if arguments of the chat template are given, and it is not used.
    """
    given = read_template_args(options.template_args)
    found = PromptTemplate(name=options.template, args=given) if options.template else _find_trained(entries)
    if given and found.name != "chat":
        raise ValueError(
            "--template-args sets values of the chat template: use --template chat, or leave it out"
        )
    return PromptTemplate(name=found.name, args={**found.args, **given}, reason=found.reason)


def _find_trained(entries: Iterable[Entry]) -> PromptTemplate:
    # Settings of training, such as the maximum length, do not change a prompt that is typed.
    cards = list_trained_prompts(entries)
    found = [{"name": card["template"], "args": card.get("template_args", {})} for card in cards]
    if any(each != found[0] for each in found):
        names = " and ".join(sorted({each["name"] for each in found}))
        reason = (
            f"the experts were trained with different templates ({names}), so the prompt is used as it is"
        )
        return PromptTemplate(name="none", reason=f"{reason}: choose one with --template")
    if not found:
        return PromptTemplate(name="none")
    name = found[0]["name"]
    reason = f"the prompt is put into the {name} template of the experts' training"
    return PromptTemplate(**found[0], reason=f"{reason}; --template none uses it as it is")


def dress_prompt(model: RoutedModel, prompt: str, template: PromptTemplate, shots: Task | None) -> list[int]:
    """Render a prompt with the template, after examples if there are any, and tokenise it.

    Raises:
        ValueError: if there are examples, but no template for them.
    """
    is_pair = model.base.is_encoder_decoder
    if template.name == "none":
        if shots is not None:
            raise ValueError("--few-shot needs a template for its examples: add --template plain or chat")
        return encode_prompt(model.tokenizer, prompt, is_encoder_decoder=is_pair)
    found = find_template(template.name, template_args=template.args)
    text = render_prompt(prompt, found, shots, model.tokenizer)
    if found.holds_special_tokens:
        return encode_texts(model.tokenizer, [text])[0]
    return encode_prompt(model.tokenizer, text, is_encoder_decoder=is_pair)


def render_prompt(
    prompt: str, template: Template, shots: Task | None, tokenizer: PreTrainedTokenizerBase
) -> str:
    """Put a prompt into a template, after all examples of ``shots``."""
    asked = Example(prompt, ("unknown",))
    if shots is None:
        return template.render(Task("prompt", {"test": (asked,)}), asked, tokenizer)
    few_shot = FewShotTemplate(template=template, shots=len(shots.split("train")))
    return few_shot.render(shots, asked, tokenizer)
