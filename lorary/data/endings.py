"""Finding the tokens that end an answer: those of the chat template, or the tokenizer's end-of-text token."""

from functools import cached_property
from typing import TYPE_CHECKING

from lorary.data.chat_template import ChatTemplate
from lorary.data.reply import Reply
from lorary.data.task import Example, Task
from lorary.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASKED = Example("a", ("a",))


class Endings:
    """The endings of answers for one tokenizer.

    Args:
        tokenizer: the base model's.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self._tokenizer = tokenizer

    @cached_property
    def marks(self) -> list[str]:
        """The tokenizer's added tokens, special or not, without blank ones."""
        return [mark for mark in self._tokenizer.get_added_vocab() if mark.strip()]

    def split(self, reply: Reply) -> tuple[str, str]:
        """Split a reply into the answer and the ending that training uses.

        Returns:
            The answer, and its ending up to the first added token, which is the last token of a generation;
            ``''`` if the template writes no token that could end the answer.
        """
        if reply.ending:
            return reply.text, self._cut(reply.ending)
        # Tool calls may have another ending than text.
        text = reply.text.rstrip()
        ending = max((mark for mark in self.marks if text.endswith(mark)), key=len, default="")
        return (text[: -len(ending)], ending) if ending else (reply.text, "")

    def _cut(self, ending: str) -> str:
        """Return an ending up to its first added token."""
        places = [(ending.find(mark), -len(mark)) for mark in self.marks if mark in ending]
        start, length = min(places, default=(0, 0))
        return ending[: start - length]


def find_turn_ending(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Return the id of the token that ends an answer in the tokenizer's chat template; None if none does."""
    try:
        (reply,) = ChatTemplate().reply(Task("turn", {"test": (ASKED,)}), ASKED, ["a"], tokenizer)
    except DataError:
        return None
    endings = Endings(tokenizer)
    ending = endings.split(reply)[1]
    marks = [mark for mark in endings.marks if ending.endswith(mark)]
    return int(tokenizer.get_added_vocab()[max(marks, key=len)]) if marks else None


def list_endings(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """List the tokens that end answers: the tokenizer's end of text, and the chat template's end of turn."""
    found = {tokenizer.eos_token_id, find_turn_ending(tokenizer)}
    return sorted(int(token) for token in found if token is not None)
