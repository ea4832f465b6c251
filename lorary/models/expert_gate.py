"""The gate of a base model's mixture of experts, with experts: it chooses sub-layers for each token.

E experts, R rank, I layer input, O sub-layers, T tokens, K experts per token.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorary.experts.parts.whole import Replace
from lorary.models.expert_linear import ExpertLinear
from lorary.models.layers import BaseLayer, is_gate
from lorary.models.parts.layer_view import LayerView
from lorary.models.routing_context import RoutingContext
from lorary.routing import Choice
from lorary.routing.contract import join_components


class ExpertGate(ExpertLinear):
    """A gate whose weight is ``W + sum_k w_k (b_k a_k + W_k - W)`` for each token, and so are others it has.

    ``W_k`` is a weight that an expert has instead of the base model's, if it has one. A gate computes more
    than a linear layer from its weight, so its output cannot be added to. Tokens with the same experts and
    weights share one change, and the gate runs once for each such group.
    """

    def forward(self, x: Tensor) -> Any:
        """Apply the gate to ``[*, I]``; the result is the base gate's, of all tokens."""
        call = self._context.active
        if call.chooser is None:
            return self.base(x)
        tokens = x.reshape(-1, x.shape[-1])
        choice = call.chooser.choose(self.path, tokens, call.rows_of(x))
        if choice is None:
            return self.base(x)
        choice = join_components(choice)
        columns = [choice.indices, choice.weights]
        if choice.general is not None:
            columns.append(choice.general[:, None])
        keys = torch.cat([column.double() for column in columns], dim=1)
        _, group = keys.unique(dim=0, return_inverse=True)
        results: list[Tensor] = []
        for number in range(int(group.max()) + 1):
            own = (group == number).nonzero().squeeze(1)
            gate = LayerView(self.base).replicate(self._change(choice, int(own[0])))
            found = gate(tokens[own])
            results = results or [each.new_empty(len(tokens), *each.shape[1:]) for each in found]
            for all_rows, rows in zip(results, found, strict=True):
                all_rows[own] = rows
        return tuple(results)

    def _change(self, choice: Choice, token: int) -> dict[str, Tensor]:
        """Return the gate's parameters for one token; the weight is ``[O, I]``."""
        indices, weights = choice.indices[token], choice.weights[token].float()
        known = LayerView(self.base).weights()
        changed = {"weight": known["weight"].float()}
        if self.parts is not None:
            for index, weight in zip(indices.tolist(), weights.tolist(), strict=True):
                for change in self.parts.changes_of(index):
                    assert isinstance(change, Replace)
                    for name, own in change.replica.named_parameters(recurse=False):
                        before = changed.get(name, known[name].float())
                        changed[name] = before + weight * (own.float() - known[name].float())
        a, b_t = self.a[indices].float(), self.b_t[indices].float()
        if choice.combine == "factors":
            a = (weights @ a.flatten(1)).view_as(a[:1])
            b_t = (weights @ b_t.flatten(1)).view_as(b_t[:1])
            weights = weights.new_ones(1)
        changed["weight"] = changed["weight"] + torch.einsum("k,kro,kri->oi", weights, b_t, a)
        if (place := self._context.general) is not None:
            weight = 1.0 if choice.general is None else choice.general[token].float()
            changed["weight"] += weight * (self.b_t[place].float().T @ self.a[place].float())
        return {name: own.to(known[name].dtype) for name, own in changed.items()}


def wrap_layer(
    base: nn.Module,
    a: Tensor,
    b_t: Tensor,
    context: RoutingContext,
    ranks: Sequence[int] | None = None,
    path: str = "",
) -> ExpertLinear:
    """Make a layer with experts of a base layer or a gate; arguments as of ``ExpertLinear``."""
    kind = ExpertGate if is_gate(base) else ExpertLinear
    return kind(cast(BaseLayer, base), a, b_t, context, ranks, path)


def is_gate_result(result: Any, num_tokens: int) -> bool:
    """Return whether a gate's result is several tensors with a row for each token."""
    return isinstance(result, Sequence) and all(
        isinstance(each, Tensor) and each.ndim > 1 and len(each) == num_tokens for each in result
    )
