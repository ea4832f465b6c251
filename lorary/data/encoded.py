"""Token ids of prompts and answers, before they are shortened."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorary.data.encoding import (
    encode_answers,
    encode_replies,
    encode_texts,
    find_ending,
    find_frame,
    find_opening,
    find_text_opening,
)
from lorary.data.endings import Endings
from lorary.data.reply import Reply, find_common_start
from lorary.data.task import Example, Task
from lorary.data.templates import Template
from lorary.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encoded(NamedTuple):
    """Token ids of a prompt and of answers to it."""

    prompt: list[int]
    """The prompt."""
    targets: list[list[int]]
    """The answers."""
    is_rewritten: bool
    """See ``Reply``."""
    is_merged: bool
    """See ``Reply``."""


class ExampleEncoder:
    """Tokenises examples by one template.

    Args:
        tokenizer: the base model's.
        template: turns examples into prompts.
        eos: whether answers end with an ending token: the one that the template writes after them, or else
            the tokenizer's end-of-text token.
        is_encoder_decoder: whether an encoder reads the prompt and a decoder writes the answer. Then both
            are separate texts, each with all tokens that the tokenizer puts around a text.

    Raises:
        DataError: if the template is a chat template and the model has an encoder.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: Template,
        *,
        eos: bool,
        is_encoder_decoder: bool = False,
    ):
        if is_encoder_decoder and template.holds_special_tokens:
            raise DataError(
                "a base model with an encoder and a decoder reads prompts without a chat template: use the "
                "template 'plain'"
            )
        self._tokenizer, self._template, self._eos = tokenizer, template, eos
        self._is_pair = is_encoder_decoder
        self._closing = find_frame(tokenizer).closing if is_encoder_decoder else []
        self._opening = [] if template.holds_special_tokens else find_opening(tokenizer)
        self._endings = Endings(tokenizer)

    @property
    def num_opening(self) -> int:
        """Number of tokens that the tokenizer itself puts at the beginning of a prompt."""
        return len(self._opening)

    def encode_examples(self, task: Task, examples: Sequence[Example]) -> list[Encoded]:
        """Tokenise examples with their first targets. Without a question, all tokens are target.

        Text that the template writes between prompt and answer, such as an empty reasoning block, is part
        of the target, because the model gets only the prompt when it answers.

        Raises:
            DataError: if the template refuses an example, or answers cannot be ended.
        """
        tokenizer, template = self._tokenizer, self._template
        if self._is_pair and any(example.is_text for example in examples):
            raise DataError(
                f"task {task.name!r} must have a question in each example for a base model with an encoder "
                "and a decoder, found a plain text: train it on a causal language model"
            )
        prompts = [template.render(task, example, tokenizer) for example in examples]
        replies = [template.reply(task, example, [example.targets[0]], tokenizer)[0] for example in examples]
        before_text = find_text_opening(tokenizer) if any(example.is_text for example in examples) else []
        prompt_ids = [
            before_text if example.is_text else [*self._opening, *ids, *self._closing]
            for example, ids in zip(examples, encode_texts(tokenizer, prompts), strict=True)
        ]
        asking = [place for place, example in enumerate(examples) if not example.is_text]
        answers = iter(
            self._encode_replies(
                [prompts[place] for place in asking],
                [prompt_ids[place] for place in asking],
                [replies[place] for place in asking],
            )
        )
        texts = iter(encode_texts(tokenizer, [one.targets[0] for one in examples if one.is_text]))
        ending = [find_ending(tokenizer)] if self._eos and len(asking) < len(examples) else []
        targets = [[*next(texts), *ending] if example.is_text else next(answers) for example in examples]
        return [
            Encoded(prompt, [target], reply.is_rewritten, reply.is_merged)
            for prompt, target, reply in zip(prompt_ids, targets, replies, strict=True)
        ]

    def encode_choices(self, task: Task, example: Example, answers: Sequence[str]) -> Encoded:
        """Tokenise texts as answers to an example with a question, all after one prompt.

        Text that the template writes between prompt and answer is part of the prompt, so that the targets are
        the answers' tokens only.

        Raises:
            DataError: if the template refuses the example, or answers cannot be ended.
        """
        tokenizer = self._tokenizer
        replies = self._template.reply(task, example, answers, tokenizer)
        opening = find_common_start([reply.opening for reply in replies])
        prompt = self._template.render(task, example, tokenizer) + opening
        ids = [*self._opening, *encode_texts(tokenizer, [prompt])[0], *self._closing]
        shortened = [reply._replace(opening=reply.opening[len(opening) :]) for reply in replies]
        targets = self._encode_replies([prompt] * len(answers), [ids] * len(answers), shortened)
        return Encoded(ids, targets, replies[0].is_rewritten, replies[0].is_merged)

    def _encode_replies(
        self, prompts: Sequence[str], prompt_ids: Sequence[list[int]], replies: Sequence[Reply]
    ) -> list[list[int]]:
        if not replies:
            return []
        if self._is_pair:
            return self._encode_targets([reply.text.removeprefix(" ") for reply in replies])
        if not self._template.holds_special_tokens:
            ending = [find_ending(self._tokenizer)] if self._eos else []
            encoded = encode_answers(self._tokenizer, [reply.text for reply in replies])
            return [ids + ending for ids in encoded]
        parts = [self._endings.split(reply) for reply in replies]
        texts = [
            f"{reply.opening}{text}{ending if self._eos else ''}"
            for reply, (text, ending) in zip(replies, parts, strict=True)
        ]
        encoded = encode_replies(self._tokenizer, prompts, prompt_ids, texts)
        return [
            [*ids, find_ending(self._tokenizer)] if self._eos and not ending else ids
            for ids, (_, ending) in zip(encoded, parts, strict=True)
        ]

    def _encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise answers as labels of a decoder, which are a separate text."""
        frame = find_frame(self._tokenizer, is_target=True)
        ending = (frame.closing or [find_ending(self._tokenizer)]) if self._eos else []
        return [[*frame.opening, *ids, *ending] for ids in encode_texts(self._tokenizer, texts)]
