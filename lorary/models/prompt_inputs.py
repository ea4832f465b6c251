"""The inputs of a model's call with soft prompts.

B rows of a batch, L row length, D width of embeddings, V virtual tokens of the longest prompt in use, P those
of the longest with keys and values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel


@dataclass(frozen=True, eq=False)
class VirtualTokens:
    """An expert's soft prompt on a model: one of the two is given."""

    embeddings: Tensor | None = None
    """Embeddings of its virtual tokens, ``[V, D]``."""
    states: Tensor | None = None
    """Keys and values of its virtual tokens at each layer, ``[layers, 2, heads, P, head width]``."""

    @property
    def count(self) -> int:
        """Number of virtual tokens."""
        if self.embeddings is not None:
            return len(self.embeddings)
        assert self.states is not None
        return self.states.shape[3]


class PromptInputs:
    """A call's keyword arguments with virtual tokens before each row's own tokens.

    Keys and values go into the cache, as ``P`` columns; embeddings into the row, as ``V`` columns after them.
    A call that continues with a cache already has both in the cache, so only mask and positions change.

    Args:
        model: the base model.
        given: the keyword arguments of the call.
        prompts: the soft prompt of each row; None for none.

    Raises:
        ValueError: if the arguments cannot have virtual tokens before them.
    """

    def __init__(
        self, model: PreTrainedModel, given: Mapping[str, Any], prompts: Sequence[VirtualTokens | None]
    ):
        self._model, self._prompts = model, prompts
        self.values = {name: value for name, value in given.items() if value is not None}
        """The keyword arguments."""
        batch = self._find_batch()
        length, device = batch.shape[1], batch.device
        self._stored = [_count(prompt, "states") for prompt in prompts]
        self._read = [_count(prompt, "embeddings") for prompt in prompts]
        before = torch.cat([_mark(self._stored, device), _mark(self._read, device)], dim=1)  # [B, P+V]
        seen = self._count_seen()
        mask = torch.cat([before, self._find_mask(batch, seen, before.shape[1])], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        if "position_ids" in self.values:
            own = self.values["position_ids"].expand(len(prompts), -1) + before.sum(1, keepdim=True)
            positions = torch.cat([positions[:, : mask.shape[1] - length], own], dim=1)
        self.num_positions = int(positions.max()) + 1
        """Number of positions that the longest row needs."""
        self.added = (0, 0)
        """Number of columns that the model reads, and of those before the caller's; zeros if none are."""
        columns = length
        if not seen:
            self._add_states()
            columns += self._add_embeddings(batch)
        self.values["attention_mask"] = mask
        if "position_ids" in signature(model.forward).parameters:
            self.values["position_ids"] = positions[:, mask.shape[1] - columns :]

    def _find_batch(self) -> Tensor:
        batch: Tensor = self.values["input_ids" if "input_ids" in self.values else "inputs_embeds"]
        return batch

    def _count_seen(self) -> int:
        """Return the number of columns in the cache."""
        cache = self.values.get("past_key_values")
        if cache is None:
            return 0
        if not isinstance(cache, Cache):
            raise ValueError(
                "past_key_values must be a Cache where experts have soft prompts, found "
                f"{type(cache).__name__}"
            )
        return int(cache.get_seq_length())

    def _find_mask(self, batch: Tensor, seen: int, before: int) -> Tensor:
        """Return the mask of the caller's columns, those in the cache included, ``[B, …]``."""
        wanted = batch.shape[1] + max(0, seen - before)
        mask = self.values.get("attention_mask")
        if mask is None:
            mask = torch.ones(len(batch), wanted, dtype=torch.long, device=batch.device)
        if not isinstance(mask, Tensor) or mask.shape != (len(batch), wanted) or (seen and seen < before):
            shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(
                "where experts have soft prompts, attention_mask must be [sequences, tokens] with the tokens "
                f"in the cache, which was made with the same experts; expected {(len(batch), wanted)}, found "
                f"{shape}"
            )
        return mask.long()

    def _add_states(self) -> None:
        """Put keys and values into the cache, those of short prompts to the right."""
        longest = max(self._stored)
        if not longest:
            return
        states = [None if prompt is None else prompt.states for prompt in self._prompts]
        first = next(each for each in states if each is not None)
        blocks = first.new_zeros(len(states), *first.shape[:3], longest, first.shape[4])
        for row, own in enumerate(states):
            if own is not None:
                blocks[row, ..., longest - own.shape[3] :, :] = own
        cache = self.values.get("past_key_values")
        if cache is None:
            cache = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        blocks = blocks.to(self._model.device, self._model.dtype)
        for layer in range(first.shape[0]):
            cache.update(blocks[:, layer, 0], blocks[:, layer, 1], layer)
        self.values["past_key_values"] = cache

    def _add_embeddings(self, batch: Tensor) -> int:
        """Put embeddings before the row's tokens; return the number of columns."""
        longest = max(self._read)
        if not longest:
            return 0
        own = self.values.pop("inputs_embeds", None)
        if own is None:
            own = self._model.get_input_embeddings()(self.values.pop("input_ids"))
        block = own.new_zeros(len(own), longest, own.shape[2])
        for row, prompt in enumerate(self._prompts):
            if prompt is not None and prompt.embeddings is not None:
                block[row, longest - prompt.count :] = prompt.embeddings.to(own)
        self.values["inputs_embeds"] = torch.cat([block, own], dim=1)
        if isinstance(kept := self.values.get("logits_to_keep"), Tensor):
            self.values["logits_to_keep"] = kept + longest
        self.added = (longest + batch.shape[1], longest)
        return longest


def _count(prompt: VirtualTokens | None, field: str) -> int:
    return 0 if prompt is None or getattr(prompt, field) is None else prompt.count


def _mark(counts: Sequence[int], device: torch.device) -> Tensor:
    """Return a mask ``[B, longest]`` that is 1 at the last columns of each row."""
    longest = max(counts)
    places = torch.arange(longest, device=device)
    return (places >= longest - torch.tensor(counts, device=device)[:, None]).long()
