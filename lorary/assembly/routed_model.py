"""A base model, its experts and a router: ready to be asked.

B sequences of a batch, L their length, V vocabulary, E experts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from lorary.assembly.explanation import Explanation, build_explanation, record_routing
from lorary.assembly.prototypes import find_prototypes
from lorary.experts import Expert
from lorary.models import COMBINES, BaseModel, ExpertStack
from lorary.routing import ArrowConfig, RouterKind, router_named
from lorary.routing.named import LayerPrototypes

Prompt = str | Sequence[int]
"""A text, or its token ids."""


class RoutedModel:
    """Experts on a base model, with whoever routes; made by ``load_model``.

    Args:
        base: the base model, now carrying the experts.
        stack: all experts on the model.
        experts: those among them that a router may choose, first in the stack; the rest (controls) answer
            only to their names.
    """

    def __init__(self, base: BaseModel, stack: ExpertStack, experts: Mapping[str, Expert]):
        self.base = base
        self.stack = stack
        self.names = stack.names[: len(experts)]
        self.controls = stack.names[len(experts) :]
        self._experts = experts
        self._prototypes: dict[str, LayerPrototypes] | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The ``transformers`` model that carries the experts."""
        return self.base.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer."""
        return self.base.tokenizer

    def __call__(self, **inputs: Any) -> CausalLMOutputWithPast:
        """Run the model as ``transformers`` does; ``logits`` are ``[B, L, V]``."""
        return self.model(**inputs)

    def set_router(self, router: str | None, options: Any = None, combine: str = "outputs") -> None:
        """Choose who routes from now on, without loading anything again.

        Args:
            router: a key of ``ROUTERS``; None for the base model alone.
            options: the router's configuration (``ArrowConfig`` for ``"arrow"``); None takes its defaults,
                with no more experts kept than there are.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.

        Raises:
            ValueError: if the router or the way to combine is unknown, or more experts are kept than there
                are.
        """
        if combine not in COMBINES:
            raise ValueError(f"combine must be one of {COMBINES}, not {combine!r}")
        if router is None:
            self.stack.set_routers(None)
            return
        kind = router_named(router)
        options = _default_options(kind, len(self.names)) if options is None else options
        prototypes = self.prototypes() if kind.needs_prototypes else {}
        routers = {
            # In the layer's dtype, or each call would convert the prototypes.
            path: kind.build(options, len(self.names), prototypes.get(path)).to(layer.a.dtype)
            for path, layer in self.stack.layers.items()
        }
        self.stack.set_routers(routers, combine)

    def prototypes(self) -> dict[str, LayerPrototypes]:
        """Give every layer's Arrow prototypes ``[E, I]`` and gains ``[E]``, found when first asked for."""
        if self._prototypes is None:
            found = find_prototypes(self._experts, self.names)
            # Where only a control changes a layer, the experts have none: their scores are 0 there.
            self._prototypes = {
                path: found.get(path) or _no_prototypes(len(self.names), layer.a.shape[2])
                for path, layer in self.stack.layers.items()
            }
        return self._prototypes

    @contextmanager
    def routed(self, router: str | None, options: Any = None, combine: str = "outputs") -> Iterator[None]:
        """Within this context another router decides; see ``set_router``."""
        layers = self.stack.layers
        before = {path: layer.router for path, layer in layers.items()}
        combine_before = self.stack.decision.combine
        try:
            self.set_router(router, options, combine)
            yield
        finally:
            self.stack.decision.combine = combine_before
            for path, layer in layers.items():
                layer.router = before[path]

    def assign(self, names: Sequence[str | None]) -> AbstractContextManager[None]:
        """Within this context each sequence of a batch uses the expert named for it (None: the base)."""
        return self.stack.assign(names)

    @torch.inference_mode()
    def generate(
        self,
        prompts: str | Sequence[Prompt],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> str | list[str]:
        """Continue texts.

        Args:
            prompts: one text, or several texts or lists of token ids, which run as one batch. A text is
                tokenised as the tokenizer does it by itself, with its opening token if it has one.
            max_new_tokens: most tokens to add to each.
            temperature: 0 always takes the likeliest token; above, tokens are sampled.
            top_p: sample from the likeliest tokens that hold this much probability.

        Returns:
            What was added to each prompt, without special tokens; a string for a string.

        Raises:
            ValueError: if a prompt is empty or a number out of range.
        """
        if max_new_tokens < 1 or not temperature >= 0:
            raise ValueError(
                "max_new_tokens must be at least 1 and temperature at least 0, "
                f"found {max_new_tokens!r} and {temperature!r}"
            )
        inputs = self._encode([prompts] if isinstance(prompts, str) else prompts)
        output = self.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            pad_token_id=self._padding_id(),
            eos_token_id=self._ending_ids() or None,
            do_sample=temperature > 0,
            temperature=temperature if temperature > 0 else None,
            top_p=top_p if temperature > 0 else None,
            # 0 looks at all tokens; transformers' own default is the best 50.
            top_k=0 if temperature > 0 else None,
        )
        added = output[:, inputs["input_ids"].shape[1] :]
        answers = self.tokenizer.batch_decode(added, skip_special_tokens=True)
        return answers[0] if isinstance(prompts, str) else answers

    @torch.inference_mode()
    def explain(self, text: Prompt) -> Explanation:
        """Run a text and tell which experts each token used at each layer.

        Args:
            text: a text, tokenised as by ``generate``, or its token ids.

        Raises:
            ValueError: if no router is set, or the text is empty.
        """
        inputs = self._encode([text])
        with record_routing(self.stack, len(self.names)) as seen:
            self.model(**inputs)
        if not seen:
            raise ValueError(
                "there is no routing to explain: no router is set, or experts are assigned by name; use "
                "set_router first, outside of assign"
            )
        tokens = [self.tokenizer.decode([token]) for token in inputs["input_ids"][0].tolist()]
        return build_explanation(tokens, self.names, seen)

    def detach(self) -> BaseModel:
        """Take the experts off and give the base model back as it was."""
        self.stack.detach()
        return self.base

    def _encode(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        ids = [
            list(self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt)
            for prompt in prompts
        ]
        if not ids or not all(ids):
            raise ValueError("a prompt must have at least one token, and there must be at least one prompt")
        longest = max(map(len, ids))
        # Padded on the left: generation goes on from the right.
        padding = self._padding_id()
        input_ids = torch.tensor([[padding] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        return {"input_ids": input_ids.to(self.model.device), "attention_mask": mask.to(self.model.device)}

    def _padding_id(self) -> int:
        for found in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if found is not None:
                return int(found)
        return 0

    def _ending_ids(self) -> list[int]:
        """List what ends an answer: what the model's configuration says, and what experts were taught."""
        configured = self.model.generation_config.eos_token_id
        found = [configured] if isinstance(configured, int) else list(configured or [])
        taught = self.tokenizer.eos_token_id
        return sorted({*found, *([] if taught is None else [taught])})


def _default_options(kind: RouterKind, num_experts: int) -> Any:
    if kind.config is ArrowConfig:
        return ArrowConfig(top_k=min(ArrowConfig().top_k, num_experts))
    return kind.config()


def _no_prototypes(num_experts: int, width: int) -> LayerPrototypes:
    return torch.zeros(num_experts, width), torch.zeros(num_experts)
