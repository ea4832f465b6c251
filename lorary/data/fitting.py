"""Shortening examples that are longer than the limit: the prompt may be cut, the target never is.

An example without a question is cut into pieces, so that all of its tokens are targets.
"""

from collections.abc import Sequence
from typing import Literal, get_args

Truncation = Literal["error", "prompt-left", "prompt-middle", "skip"]
"""What to do if prompt and target together exceed the limit.

- ``error``: raise an error.
- ``prompt-left``: cut the beginning of the prompt.
- ``prompt-middle``: cut the middle of the prompt, so that definition and question are kept.
- ``skip``: leave the example out.
"""


def check_truncation(max_length: int, truncation: str) -> None:
    """Check a limit and a policy.

    Raises:
        ValueError: if the limit is below 2, or the policy unknown.
    """
    if max_length < 2:
        raise ValueError(
            f"max_length must be at least 2 (one token of prompt, one of target), not {max_length!r}"
        )
    if truncation not in get_args(Truncation):
        raise ValueError(f"truncation must be one of {', '.join(get_args(Truncation))}, not {truncation!r}")


def cut_prompt(prompt: Sequence[int], room: int, truncation: Truncation, num_opening: int) -> tuple[int, ...]:
    """Cut ``prompt`` to ``room`` tokens by a policy that cuts prompts.

    Args:
        prompt: token ids.
        room: maximum number of tokens that are kept, at least 1.
        truncation: ``prompt-left`` or ``prompt-middle``.
        num_opening: number of tokens at the beginning (such as bos) that are always kept, if there is room.
    """
    if len(prompt) <= room:
        return tuple(prompt)
    num_head = num_opening if truncation == "prompt-left" else max(num_opening, room // 2)
    # The last token is always kept, because the first token of the target is predicted at it.
    num_head = min(num_head, room - 1)
    return (*prompt[:num_head], *prompt[len(prompt) - (room - num_head) :])


def cut_text(
    text: Sequence[int], opening: Sequence[int], max_length: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cut a text into pieces, each with a prompt that its first token is predicted from.

    Args:
        text: token ids, at least one.
        opening: prompt of the first piece. If it is empty, the text's first token is the prompt and is not
            predicted.
        max_length: maximum number of tokens of a piece together with its prompt, at least 2.

    Returns:
        Prompt and piece, in order. The last token of a piece is the prompt of the next one.
    """
    opening = opening[: max_length - 1]
    if not opening:
        opening, text = text[:1], text[1:]
    first = max_length - len(opening)
    pieces = [(tuple(opening), tuple(text[:first]))]
    for start in range(first, len(text), max_length - 1):
        pieces.append(((text[start - 1],), tuple(text[start : start + max_length - 1])))
    return pieces
