"""Tokenised examples: a prompt, and a target to be predicted, which is never cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorary.data.encoded import ExampleEncoder
from lorary.data.fitting import Truncation, check_truncation, cut_prompt, cut_text
from lorary.data.prompt_counts import PromptCounts
from lorary.data.task import Example, Task
from lorary.data.templates import Template
from lorary.errors import DataError
from lorary.files import say_count

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedExample:
    """Token ids of a prompt and of its answer; losses are computed on the answer only."""

    prompt_ids: tuple[int, ...]
    """The prompt, at least one token."""
    target_ids: tuple[int, ...]
    """The answer, with the token that ends it if it is to end."""
    num_cut: int = 0
    """Number of tokens of the prompt that were removed."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.target_ids)


@dataclass(frozen=True)
class TokenizedExamples:
    """Tokenised examples, with counts of those that were left out or changed."""

    examples: tuple[TokenizedExample, ...]
    """The tokenised examples, in order."""
    indices: tuple[int, ...]
    """For each of them, the index of the given example; a text that was cut has one for each piece."""
    counts: PromptCounts
    """Numbers of examples that were left out (policy ``skip``) or changed."""


def tokenize_examples(
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    task: Task,
    examples: Sequence[Example],
    *,
    max_length: int,
    truncation: Truncation = "error",
    eos: bool = True,
    is_encoder_decoder: bool = False,
) -> TokenizedExamples:
    """Tokenise examples and their first targets.

    The prompt is the same as in generation. With a chat template, the target is the text that the template
    writes after the prompt in the finished conversation. In an example without a question, all tokens of the
    text are targets, and the prompt is an opening token. A long text is cut into pieces; each later piece has
    the token before it as prompt.

    Args:
        tokenizer: the base model's.
        template: turns examples into prompts.
        task: the examples' task, for its definition and its name.
        examples: the examples.
        max_length: maximum number of tokens of prompt and target (with its ending token) together.
        truncation: what to do with longer examples; a target is never cut.
        eos: whether the target ends with an ending token, as in training: the one that the chat template
            writes after an answer, or else the tokenizer's end-of-text token.
        is_encoder_decoder: whether the base model has an encoder for the prompt and a decoder for the target,
            see ``BaseModel.is_encoder_decoder``.

    Raises:
        ValueError: if ``max_length`` or ``truncation`` is invalid.
        DataError: if an example is too long and the policy is ``error``, or if a target alone is too long
            and the policy is not ``skip``; or if a base model with an encoder gets a chat template, or an
            example without a question.
    """
    check_truncation(max_length, truncation)
    encoder = ExampleEncoder(tokenizer, template, eos=eos, is_encoder_decoder=is_encoder_decoder)
    encoded = encoder.encode_examples(task, examples)
    kept: list[tuple[int, TokenizedExample]] = []
    for index, (prompt, (target,), *_) in enumerate(encoded):
        if examples[index].is_text:
            pieces = cut_text(target, prompt, max_length)
            kept += [(index, TokenizedExample(*piece)) for piece in pieces]
            continue
        if truncation == "skip" and len(prompt) + len(target) > max_length:
            continue
        room = _measure_room(task, examples[index], prompt, len(target), max_length, truncation)
        cut = cut_prompt(prompt, room, truncation, encoder.num_opening)
        kept.append((index, TokenizedExample(cut, tuple(target), len(prompt) - len(cut))))
    return TokenizedExamples(
        examples=tuple(example for _, example in kept),
        indices=tuple(index for index, _ in kept),
        counts=PromptCounts(
            num_cut=sum(example.num_cut > 0 for _, example in kept),
            num_skipped=len(examples) - len({index for index, _ in kept}),
            num_rewritten=sum(found.is_rewritten for found in encoded),
            num_merged=sum(found.is_merged for found in encoded),
        ),
    )


def tokenize_answers(
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    task: Task,
    example: Example,
    answers: Sequence[str],
    *,
    max_length: int,
    truncation: Truncation = "error",
    eos: bool = False,
    is_encoder_decoder: bool = False,
) -> list[TokenizedExample]:
    """Tokenise texts as answers to an example.

    All have the same prompt, truncated to fit the longest answer, so that their likelihoods are comparable.
    Text that a chat template writes between prompt and answer, such as an empty reasoning block, is part of
    the prompt.

    Args:
        tokenizer: the base model's.
        template: turns examples into prompts.
        task: the example's task, for its definition and its name.
        example: the example.
        answers: the texts, at least one.
        max_length: maximum number of tokens of prompt and answer together.
        truncation: how the prompt is cut; answers are never cut.
        eos: whether each answer ends with an ending token, see ``tokenize_examples``.
        is_encoder_decoder: whether the base model has an encoder, see ``tokenize_examples``.

    Raises:
        ValueError: if there is no answer, or ``truncation`` is ``skip`` or invalid.
        DataError: if the example is too long and the policy is ``error``, or an answer alone is too long.
    """
    check_truncation(max_length, truncation)
    if truncation == "skip" or not answers:
        found = "truncation 'skip'" if truncation == "skip" else "no answer"
        raise ValueError(f"tokenize_answers needs answers and a policy that keeps them, not {found}")
    encoder = ExampleEncoder(tokenizer, template, eos=eos, is_encoder_decoder=is_encoder_decoder)
    prompt, targets, *_ = encoder.encode_choices(task, example, answers)
    room = _measure_room(task, example, prompt, max(map(len, targets)), max_length, truncation)
    cut = cut_prompt(prompt, room, truncation, encoder.num_opening)
    return [TokenizedExample(cut, tuple(target), len(prompt) - len(cut)) for target in targets]


def _measure_room(
    task: Task,
    example: Example,
    prompt: Sequence[int],
    num_target: int,
    max_length: int,
    truncation: Truncation,
) -> int:
    """Return the number of prompt tokens that fit beside the target; raise ``DataError`` if none do."""
    room = max_length - num_target
    if room < 1:
        problem, advice = "and the target is never cut", "raise max_length, or use truncation='skip'"
    elif truncation == "error" and len(prompt) > room:
        problem, advice = (
            "and truncation is 'error'",
            "raise max_length, or use 'prompt-middle', 'prompt-left' or 'skip'",
        )
    else:
        return room
    raise DataError(
        f"task {task.name!r}, example {example.input[:60]!r}: prompt and target must fit in "
        f"{say_count(max_length, 'token')}, found {len(prompt)} of prompt and {num_target} of target, "
        f"{problem}: {advice}"
    )
