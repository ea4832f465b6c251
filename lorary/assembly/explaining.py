"""Observe the experts that each token of a text uses.

L routed layers, T tokens, E experts, K experts kept per token.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lorary.assembly.explanation import Explanation
from lorary.assembly.router import Router
from lorary.models import ExpertStack
from lorary.routing import Choice, Chooser, LayerRouters


def explain_routing(
    stack: ExpertStack,
    chooser: Chooser | None,
    inputs: Mapping[str, Tensor],
    num_prompt_tokens: int | None,
    num_experts: int,
) -> dict[str, Tensor]:
    """Run a text and record the experts that a router chooses for each token at each layer.

    Args:
        stack: the experts on the model.
        chooser: the router in charge.
        inputs: ``input_ids`` and ``attention_mask`` of one text, ``[1, T]``.
        num_prompt_tokens: number of its first tokens that are the prompt, for routers that choose per
            request; None means all.
        num_experts: E, those that a router may choose.

    Returns:
        Module path -> routing weights ``[T, E]``, float32, on the CPU.

    Raises:
        ValueError: if the chooser is no router, or ``num_prompt_tokens`` is not from 1 to T.
    """
    if isinstance(chooser, Router) and chooser.decider is not None:
        return chooser.decider.explain(inputs["input_ids"], num_prompt_tokens, num_experts)
    seen: dict[str, Tensor] = {}
    if isinstance(chooser, LayerRouters):
        recorder = Recorder(chooser, num_experts)
        with stack.choosing(recorder):
            stack.model(**inputs)
        seen = recorder.seen
    if not seen:
        raise ValueError(
            "there is no routing to explain: no router is set, or experts are assigned by name; use "
            "set_router first, outside of assign"
        )
    return seen


def build_explanation(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], names: Sequence[str], seen: Mapping[str, Tensor]
) -> Explanation:
    """Build an explanation from recorded weights.

    Args:
        tokenizer: decodes each token.
        ids: the text's T tokens.
        names: of the experts, E.
        seen: module path -> routing weights ``[T, E]``.
    """
    tokens = tuple(tokenizer.decode([token]) for token in ids)
    return Explanation(tokens, tuple(names), tuple(seen), torch.stack(list(seen.values())))


class Recorder:
    """A chooser that records the choices of another chooser at each layer.

    Args:
        chooser: the other chooser.
        num_experts: E.
    """

    def __init__(self, chooser: Chooser, num_experts: int):
        self.seen: dict[str, Tensor] = {}
        """Module path -> routing weights of the layer's last call, ``[T, E]``, float32, on the CPU."""
        self._chooser = chooser
        self._num_experts = num_experts

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Return and record the other chooser's choice; see ``Chooser``."""
        choice = self._chooser.choose(path, x, rows)
        if choice is not None:
            spread = torch.zeros(len(x), self._num_experts, device=x.device)  # [T, E]
            self.seen[path] = spread.scatter_add(1, choice.indices, choice.weights.float()).cpu()
        return choice
