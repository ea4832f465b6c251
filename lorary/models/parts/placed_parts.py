"""The parts of all experts at one module, applied to the tokens that use them.

E experts, T tokens, K experts per token, O module output.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lorary.experts.parts.fields import widen
from lorary.routing import Choice


class Group(NamedTuple):
    """The tokens of a call that use one expert."""

    tokens: Tensor
    """Their indices, ``[N]``."""
    weights: Tensor
    """The expert's weight for each, ``[N, 1]``, float32."""


class PlacedParts(nn.Module):
    """Changes of one module by experts, other than low-rank factors: ``y += w · change(x)`` for each expert.

    Args:
        changes: place of an expert in the stacks -> its changes, see ``Placement.change``.
    """

    def __init__(self, changes: Mapping[int, Sequence[nn.Module]]):
        super().__init__()
        # Groups are kept for the next call, since a plan's choice stays the same during an answer.
        self._last: tuple[Choice, dict[str, Group]] | None = None
        self._set(changes)

    def insert(self, index: int, own: Sequence[nn.Module]) -> None:
        """Insert an expert at a place, with its changes; experts after it move up by one."""
        changes = {place + (place >= index): each for place, each in self._list_changes().items()}
        self._set({**changes, index: list(own)} if own else changes)

    def drop(self, index: int) -> None:
        """Remove an expert; experts after it move down by one."""
        known = self._list_changes()
        self._set({place - (place > index): each for place, each in known.items() if place != index})

    def changes_of(self, index: int) -> list[nn.Module]:
        """Return the changes of the expert at a place; none if it has none here."""
        key = str(index)
        return list(self.changes[key].children()) if key in self.changes else []

    def _list_changes(self) -> dict[int, list[nn.Module]]:
        return {int(key): list(own.children()) for key, own in self.changes.items()}

    def _set(self, changes: Mapping[int, Sequence[nn.Module]]) -> None:
        lists = {str(index): nn.ModuleList(own) for index, own in sorted(changes.items())}
        self.changes = nn.ModuleDict(lists)
        self._last = None

    def forward(
        self, module: nn.Module, inputs: tuple[Any, ...], base: Tensor, y: Tensor, choice: Choice
    ) -> Tensor:
        """Add the changes of the chosen experts.

        Args:
            module: the base module.
            inputs: its positional arguments; tensors of T tokens are divided among experts.
            base: the base module's output, ``[*, O]``, of T tokens.
            y: the output so far, ``[*, O]``: with low-rank factors.
            choice: the experts of the T tokens.

        Returns:
            ``[*, O]``, in the dtype of ``y``.
        """
        if torch.compiler.is_compiling():
            groups = _weigh_all(choice, list(self.changes))
        else:
            groups = self._group(choice)
        if not groups:
            return y
        flat = base.reshape(-1, base.shape[-1])
        tokens = [_flatten(given, flat.shape[0], base) for given in inputs]
        changed = widen(y.reshape(flat.shape))
        for key, group in groups.items():
            own = tuple(given[group.tokens] if is_divided else given for given, is_divided in tokens)
            for change in self.changes[key].children():
                added = change(module, own, flat[group.tokens]) * group.weights
                changed = changed.index_add(0, group.tokens, added.to(changed.dtype))
        return changed.to(y.dtype).view(y.shape)

    def _group(self, choice: Choice) -> dict[str, Group]:
        last = self._last
        if last is not None and last[0] is choice:
            return last[1]
        used = {str(index) for index in choice.indices.unique().tolist()}
        groups = {}
        for key in self.changes:
            if key in used:
                weights = _weigh(choice, int(key))
                tokens = weights.nonzero().squeeze(1)
                if len(tokens):
                    groups[key] = Group(tokens, weights[tokens, None])
        self._last = choice, groups
        return groups


def _weigh(choice: Choice, index: int) -> Tensor:
    """Return an expert's weight for each token, ``[T]``, float32."""
    return (choice.weights.float() * (choice.indices == index)).sum(-1)


def _weigh_all(choice: Choice, keys: Sequence[str]) -> dict[str, Group]:
    """Give all tokens to each expert: in a compiled graph, shapes must not depend on values."""
    tokens = torch.arange(len(choice.indices), device=choice.indices.device)
    return {key: Group(tokens, _weigh(choice, int(key))[:, None]) for key in keys}


def _flatten(given: Any, num_tokens: int, base: Tensor) -> tuple[Any, bool]:
    """Return an argument with its tokens in one dimension, and whether it has them."""
    if not isinstance(given, Tensor):
        return given, False
    if given.shape[:-1].numel() == num_tokens and given.ndim >= base.ndim:
        return given.reshape(num_tokens, given.shape[-1]), True
    if given.numel() == num_tokens:
        return given.reshape(num_tokens), True
    return given, False
