"""Tokenised examples: a prompt to read and a target to predict, with nothing of the target ever cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorary.data.encoded import ExampleEncoder
from lorary.data.fitting import Truncation, check_truncation, cut_prompt, cut_text
from lorary.data.prompt_counts import PromptCounts
from lorary.data.task import Example, Task
from lorary.data.templates import Template
from lorary.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedExample:
    """Token ids of a prompt and of the answer after it; the loss is on the answer alone."""

    prompt_ids: tuple[int, ...]
    """What the model reads; at least one token."""
    target_ids: tuple[int, ...]
    """What it is to say, with the end-of-text token where it is to stop."""
    num_cut: int = 0
    """How many tokens of the prompt were cut away."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.target_ids)


@dataclass(frozen=True)
class TokenizedExamples:
    """Many tokenised examples, with what did not fit."""

    examples: tuple[TokenizedExample, ...]
    """What can be used, in order."""
    indices: tuple[int, ...]
    """For each, its place among the examples that were given, once for each piece of a text."""
    counts: PromptCounts
    """How many were left out (policy ``skip``) or changed."""


def tokenize_examples(
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    task: Task,
    examples: Sequence[Example],
    *,
    max_length: int,
    truncation: Truncation = "error",
    eos: bool = True,
) -> TokenizedExamples:
    """Tokenise examples and their first targets.

    The prompt is what the model reads when it is to answer. With a chat template the target is what the
    template writes after it into the finished conversation. Of an example that asks nothing, all tokens of
    its text are targets, and the prompt is what opens a text.
    Such a text is cut into as many pieces as it takes; each later piece has the token before it as prompt.

    Args:
        tokenizer: the base model's.
        template: how examples become prompts.
        task: what the examples are of; gives the definition, and its name to errors.
        examples: what to tokenise.
        max_length: the most tokens that prompt and target (with its end) may have together.
        truncation: what to do with longer ones; a target is never cut.
        eos: whether the target ends, as in training: with the token that the chat template writes after an
            answer, or else with the tokenizer's end-of-text token.

    Raises:
        ValueError: if ``max_length`` or ``truncation`` makes no sense.
        DataError: if an example is too long for the policy, or, unless it is ``skip``, if a target alone is.
    """
    check_truncation(max_length, truncation)
    encoder = ExampleEncoder(tokenizer, template, eos=eos)
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
) -> list[TokenizedExample]:
    """Tokenise any texts as answers to an example.

    All share one prompt, cut to fit the longest answer, so that their likelihoods compare. What a chat
    template writes between prompt and answer, such as an empty thought, is part of the prompt.

    Args:
        tokenizer: the base model's.
        template: how examples become prompts.
        task: what the example is of; gives the definition, and its name to errors.
        example: what is asked.
        answers: the texts, at least one.
        max_length: the most tokens that prompt and answer may have together.
        truncation: how the prompt is cut; no answer is.
        eos: whether each answer ends, see ``tokenize_examples``.

    Raises:
        ValueError: if there is no answer, or ``truncation`` is ``skip`` or makes no sense.
        DataError: if the example is too long for the policy, or an answer alone is.
    """
    check_truncation(max_length, truncation)
    if truncation == "skip" or not answers:
        found = "truncation 'skip'" if truncation == "skip" else "no answer"
        raise ValueError(f"tokenize_answers needs answers and a policy that keeps them, not {found}")
    encoder = ExampleEncoder(tokenizer, template, eos=eos)
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
    """Return how many tokens of the prompt may stay beside the target, or refuse."""
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
        f"{max_length} tokens, found {len(prompt)} of prompt and {num_target} of target, {problem}: {advice}"
    )
