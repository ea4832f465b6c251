"""Choose experts once per request: the base model runs the prompts, a router chooses from activations.

B sequences of a batch, L their length, P prompts, T tokens, E experts, K experts kept per request, G groups
of layers, D width of an embedding.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.assembly.probing import Prober
from lorary.facts.encoder import Encoder, embed_with
from lorary.facts.requests import Requests, list_prompts, pad_prompts
from lorary.files import say_count
from lorary.models import BaseModel, ExpertStack
from lorary.routing import Chooser
from lorary.routing.request import OUTPUT, RefiningRouter, RequestRouter, ScoringRouter


class RequestDecider:
    """Chooses experts for whole requests, from their prompts only.

    Args:
        stack: the experts on the model; they are inactive while the prompts run, unless the router
            uses runs with experts.
        router: chooses from the base model's activations on the prompts.
        base: the base model, whose tokenizer decodes token ids for an encoder.
        num_experts: E, the number of experts that the router chooses from; they come first in the stack.
        encoder: embeds the prompts' texts instead of the base model, if the router uses embeddings.
    """

    def __init__(
        self,
        stack: ExpertStack,
        router: RequestRouter,
        base: BaseModel,
        num_experts: int,
        encoder: Encoder | None = None,
    ):
        self.router = router
        self.stack = stack
        self._base = base
        self._encoder = encoder
        self._prober = Prober(stack, base, router, num_experts)

    @property
    def refines(self) -> bool:
        """Whether the choice for a request differs between its layers or tokens."""
        return isinstance(self.router, RefiningRouter)

    def decide(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose experts for each prompt of a batch.

        Args:
            input_ids: ``[B, L]``.
            attention_mask: ``[B, L]``, 0 for padding, on either side; None for no padding.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32, the arguments of ``make_chooser`` (and of
            ``ExpertStack.planned``, if the router does not refine them). Weights are ``[B, G, K]`` if
            the router weighs groups of layers separately.

        Raises:
            ValueError: if the shapes differ, or a prompt is empty.
        """
        return self.decide_prompts(list_prompts(input_ids, attention_mask))

    def decide_prompts(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Choose experts for prompts, given as token ids; see ``decide``."""
        return self.decide_packed(pad_prompts(prompts, self.stack.model.device))

    @torch.no_grad()
    def decide_packed(self, requests: Requests) -> tuple[Tensor, Tensor]:
        """Choose experts for packed prompts; see ``decide``.

        Args:
            requests: P prompts, on the model's device.

        Returns:
            Indices ``[P, K]`` and weights ``[P, K]``, or ``[P, G, K]``.
        """
        return self.router.choose(self._read(requests))

    def _read(self, requests: Requests) -> Mapping[str, Tensor]:
        if self._encoder is not None and self.router.places == (OUTPUT,):
            return {OUTPUT: embed_with(self._encoder, self._base.tokenizer, requests.token_ids())}
        return self._prober.read(requests)

    def make_chooser(self, indices: Tensor, weights: Tensor, combine: str = "outputs") -> Chooser:
        """Make the chooser of requests from the decisions for them.

        Args:
            indices: ``[P, K]``, from ``decide``.
            weights: ``[P, K]`` or ``[P, G, K]``, from ``decide``.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.
        """
        if isinstance(self.router, RefiningRouter):
            return self.router.refine(indices, weights, combine)
        # With a router the general expert is active even where no expert is chosen.
        return self.stack.plan(indices, weights, combine, torch.ones(len(indices), dtype=torch.bool))

    @torch.no_grad()
    def explain(
        self, input_ids: Tensor, num_prompt_tokens: int | None, places: Sequence[int]
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the experts that each token of a text uses, as chosen from its prompt.

        Args:
            input_ids: the text, ``[1, T]``.
            num_prompt_tokens: number of its first tokens that are the prompt; None means all.
            places: places of E experts in the stack.

        Returns:
            Module path -> routing weights ``[T, E]``, the same for each token; and the experts' scores
            ``[E]``, None if the router has none. Float32, on the CPU.

        Raises:
            ValueError: if ``num_prompt_tokens`` is not from 1 to T.
        """
        length = input_ids.shape[1]
        if num_prompt_tokens is not None and not 1 <= num_prompt_tokens <= length:
            raise ValueError(
                f"num_prompt_tokens must be from 1 to the text's {say_count(length, 'token')}, found "
                f"{num_prompt_tokens}"
            )
        prompts = list_prompts(input_ids[:, :num_prompt_tokens], None)
        averages = self._read(pad_prompts(prompts, self.stack.model.device))
        indices, weights = (found.cpu() for found in self.router.choose(averages))
        groups = weights if weights.dim() == 3 else weights[:, None]  # [1, G, K]
        shares = torch.zeros(groups.shape[1], len(self.stack.names))
        shares.scatter_add_(1, indices.expand(len(shares), -1), groups[0])
        router = self.router
        numbers = {
            path: router.find_group(path) if isinstance(router, RefiningRouter) else 0
            for path in self.stack.layers
        }
        shares = shares[:, list(places)]  # [G, E]
        scores = router.score(averages)[0].float().cpu() if isinstance(router, ScoringRouter) else None
        return {path: shares[number].expand(length, -1) for path, number in numbers.items()}, scores
