"""Choose experts once per request: the base model runs the prompts, a router chooses from activations.

B sequences of a batch, L their length, P prompts, T tokens, E experts, K experts kept per request, D width of
an embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.facts.encoder import Encoder, embed_with
from lorary.facts.reading import read_averages
from lorary.facts.requests import Requests, list_prompts, pad_prompts
from lorary.files import say_count
from lorary.models import BaseModel, ExpertStack
from lorary.routing.request import OUTPUT, RequestRouter


class RequestDecider:
    """Chooses experts for whole requests, from their prompts only.

    Args:
        stack: the experts on the model; they are off while the prompts run.
        router: chooses from the base model's activations on the prompts.
        base: the base model, whose tokenizer decodes token ids for an encoder.
        encoder: embeds the prompts' texts instead of the base model, if the router uses embeddings.
    """

    def __init__(
        self,
        stack: ExpertStack,
        router: RequestRouter,
        base: BaseModel,
        encoder: Encoder | None = None,
    ):
        self.router = router
        self.stack = stack
        self._base = base
        self._encoder = encoder

    def decide(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose experts for each prompt of a batch.

        Args:
            input_ids: ``[B, L]``.
            attention_mask: ``[B, L]``, 0 for padding, on either side; None for no padding.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32, the arguments of ``ExpertStack.planned``.

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
            Indices ``[P, K]`` and weights ``[P, K]``.
        """
        if self._encoder is not None and self.router.places == (OUTPUT,):
            vectors = embed_with(self._encoder, self._base.tokenizer, requests.token_ids())
            return self.router.choose({OUTPUT: vectors})
        return self.router.choose(read_averages(self.stack, self.router, requests))

    def explain(
        self, input_ids: Tensor, num_prompt_tokens: int | None, num_experts: int
    ) -> dict[str, Tensor]:
        """Return the experts that each token of a text uses, as chosen from its prompt.

        Args:
            input_ids: the text, ``[1, T]``.
            num_prompt_tokens: number of its first tokens that are the prompt; None means all.
            num_experts: E.

        Returns:
            Module path -> routing weights ``[T, E]``, float32, on the CPU: the same at each layer.

        Raises:
            ValueError: if ``num_prompt_tokens`` is not from 1 to T.
        """
        length = input_ids.shape[1]
        if num_prompt_tokens is not None and not 1 <= num_prompt_tokens <= length:
            raise ValueError(
                f"num_prompt_tokens must be from 1 to the text's {say_count(length, 'token')}, found "
                f"{num_prompt_tokens}"
            )
        indices, weights = self.decide(input_ids[:, :num_prompt_tokens])
        spread = torch.zeros(1, num_experts).scatter_add(1, indices.cpu(), weights.cpu())
        return dict.fromkeys(self.stack.layers, spread.expand(length, -1))
