"""Observe the experts that each token of a text uses.

L routed layers, T tokens, E experts, K experts kept per token.
"""

import torch
from torch import Tensor

from lorary.assembly.explanation import Explanation
from lorary.assembly.prompts import Prompt, encode_prompts
from lorary.assembly.router import Router
from lorary.experts.stacked_parameters import is_sub_layer
from lorary.facts.known import Facts
from lorary.models.positions import check_length
from lorary.routing import Choice, Chooser, LayerRouters
from lorary.routing.contract import join_components


def explain_text(
    facts: Facts, chooser: Chooser | None, text: Prompt, num_prompt_tokens: int | None
) -> Explanation:
    """Run a text and return the experts that each token used, see ``RoutedModel.explain``.

    Args:
        facts: the experts on the model.
        chooser: the current chooser; choosers that are not routers are refused.
        text: a text or its token ids.
        num_prompt_tokens: number of its first tokens that are the prompt, for
            request routers; None means all.
    """
    inputs = encode_prompts(facts.base, [text], facts.base.model.device)
    ids = inputs["input_ids"]
    check_length(facts.base.model, ids.shape[1], "the text")
    seen: dict[str, Tensor] = {}
    scores = None
    names = facts.names
    if isinstance(chooser, Router) and chooser.decider is not None:
        if facts.fallback is not None:
            names = (*names, facts.stack.names[facts.fallback])
        places = [facts.stack.index(name) for name in names]
        seen, scores = chooser.decider.explain(ids, num_prompt_tokens, places)
    elif isinstance(chooser, LayerRouters):
        recorder = Recorder(chooser, len(facts.names))
        model = facts.base.model
        # The encoder's layers, since the decoder reads other tokens than those of the text.
        reader = model.get_encoder() if facts.base.is_encoder_decoder else model
        with facts.stack.choosing(recorder):
            reader(**inputs)
        seen = recorder.seen
    if not seen:
        raise ValueError(
            "there is no routing to explain: no router is set, or experts are assigned by name; call "
            "set_router first, outside of assign"
        )
    tokens = tuple(facts.base.tokenizer.decode([token]) for token in ids[0].tolist())
    return Explanation(tokens, names, tuple(seen), torch.stack(list(seen.values())), scores)


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
        # Sub-layers of a mixture of experts run with only some tokens.
        if choice is not None and not is_sub_layer(path):
            spread = torch.zeros(len(x), self._num_experts, device=x.device)  # [T, E]
            known = join_components(choice)
            self.seen[path] = spread.scatter_add(1, known.indices, known.weights.float()).cpu()
        return choice
