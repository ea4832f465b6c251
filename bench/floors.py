"""Lower bounds of the cost of experts: multiplications and bytes read, in units of the base model's own.

B sequences, T tokens, E experts, R rank, I layer input, O layer output, K experts per token.
"""

from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedModel

from lorary.models import find_layers


class Floor(NamedTuple):
    """With the base model's own, which are 1; attention is not counted."""

    work: float
    """Multiplications, which limit the speed with many tokens."""
    size: float
    """Numbers read, which limit the speed with few tokens."""


def find_floor(
    model: PreTrainedModel,
    *,
    tokens: int,
    rank: int,
    top_k: int,
    num_used: float,
    num_scored: int = 0,
    num_logits: int | None = None,
) -> Floor:
    """Count the minimum for scores and experts.

    Args:
        model: the base model, without experts.
        tokens: T, read at once.
        rank: R.
        top_k: K.
        num_used: the number of experts that any token uses; see ``expect_used``.
        num_scored: E, for each of which a token has one product; 0 without a router.
        num_logits: the number of tokens whose logits are computed; None for all.
    """
    output = model.get_output_embeddings().weight.numel()
    plain_work = output * (tokens if num_logits is None else num_logits) / tokens
    plain_size, work, size = output, 0, 0
    for layer in find_layers(model, "all-linear").values():
        width_out, width_in = layer.weight.shape
        plain_work += width_in * width_out
        plain_size += width_in * width_out
        work += num_scored * width_in + top_k * rank * (width_in + width_out)
        size += num_scored * width_in + num_used * rank * (width_in + width_out)
    return Floor(1 + work / plain_work, 1 + size / plain_size)


def expect_used(experts: int, top_k: int, tokens: int) -> float:
    """Count the experts that all tokens use together if each chooses K of E at random."""
    return experts * (1 - (1 - top_k / experts) ** tokens)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is read and written."""

    batch: int
    """B, sequences side by side."""
    prompt: int
    """Tokens of each, read at once."""
    steps: int
    """Tokens added to each, one after the other."""


@dataclass(frozen=True)
class Aims:
    """Targets and lower bounds for prefill and decode, in units of the base model's cost."""

    prefill: float
    decode: float
    prefill_floor: Floor
    decode_floor: Floor

    def describe_prefill(self) -> str:
        """Describe those of prefill, which multiplications limit."""
        return f"Target: at most {self.prefill:g} × base. Least work: {self.prefill_floor.work:.3g} × base."

    def describe_decode(self) -> str:
        """Describe those of decode, which bytes limit."""
        return f"Target: at most {self.decode:g} × base. Least bytes: {self.decode_floor.size:.3g} × base."


def find_floors(
    model: PreTrainedModel, sizes: Sizes, *, rank: int, top_k: int, experts: int, has_router: bool = True
) -> tuple[Floor, Floor]:
    """Count the minimum of prefill and of a decode step, with all logits; see ``find_floor``.

    Without a router every expert is used by name.
    """
    prefill, decode = (
        find_floor(
            model,
            tokens=tokens,
            rank=rank,
            top_k=top_k,
            num_used=expect_used(experts, top_k, tokens) if has_router else experts,
            num_scored=experts if has_router else 0,
        )
        for tokens in (sizes.batch * sizes.prompt, sizes.batch)
    )
    return prefill, decode
