"""A base model with experts and a router.

B sequences of a batch, L their length, V vocabulary, E experts, N rows, I layer input, D width of embeddings.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import CompileConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from lorary.assembly.answer_limits import spread_limits
from lorary.assembly.answering import answer_prompts
from lorary.assembly.choosing import AUTO, ExpertChoice, Prompts, build_chooser, find_requests, spread_choices
from lorary.assembly.deciding import RequestDecider
from lorary.assembly.decoding import decode_answers, list_prompts
from lorary.assembly.explanation import Explanation, Recorder, build_explanation
from lorary.assembly.generation import check_sampling, describe_generation
from lorary.assembly.prompts import Prompt, encode_prompts, find_ending_ids
from lorary.assembly.router import Router, build_router, find_config
from lorary.experts import Expert
from lorary.facts.encoder import Encoder
from lorary.facts.known import Facts
from lorary.files import quote
from lorary.models import BaseModel, ExpertStack
from lorary.models.base import check_base
from lorary.models.fit_paths import fit_paths
from lorary.models.grow import drop_expert, insert_expert
from lorary.models.positions import check_length
from lorary.routing import Chooser, LayerRouters, RouterConfig, configure_router
from lorary.routing.named import LayerPrototypes


class RoutedModel:
    """A base model with experts and a router; made by ``load_model``.

    Threads may share a model. ``assign`` and ``routed`` apply to the thread that enters them. ``set_router``,
    ``add_expert``, ``remove_expert`` and ``detach`` apply to all threads, and wait until no other thread is
    in a call or a context. So a thread inside a context must not wait for another thread that uses the model.

    Args:
        base: the base model, with the experts attached.
        stack: all experts on the model.
        experts: the experts that a router may choose, first in the stack; the rest are controls, which are
            used by name only.
    """

    def __init__(self, base: BaseModel, stack: ExpertStack, experts: Mapping[str, Expert]):
        self.base = base
        self.facts = Facts(base, stack, experts)
        self._default = Router(None, None, "outputs", dict.fromkeys(stack.layers))
        # PyTorch's compiler is not made for several threads that run what it compiled.
        self._compiled = threading.RLock()

    @property
    def stack(self) -> ExpertStack:
        """All experts on the model; a new object after an expert was added or removed."""
        return self.facts.stack

    @property
    def names(self) -> tuple[str, ...]:
        """The experts that a router may choose."""
        return self.facts.names

    @property
    def controls(self) -> tuple[str, ...]:
        """The experts that are used by name only."""
        stack, names = self.facts.carried
        return stack.names[len(names) :]

    @property
    def model(self) -> PreTrainedModel:
        """The ``transformers`` model with the experts."""
        return self.base.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer; ``BaseModelError`` if it was not given and has no local files."""
        return self.base.tokenizer

    @property
    def decider(self) -> RequestDecider | None:
        """The current router's decider, if it chooses once per request; else None."""
        return self._router.decider

    @property
    def routing(self) -> tuple[str | None, RouterConfig | None, str]:
        """The current router, its options and how experts are combined."""
        router = self._router
        return router.name, router.options, router.combine

    def __call__(
        self,
        *,
        experts: ExpertChoice | Sequence[ExpertChoice] = AUTO,
        rows: Tensor | None = None,
        **inputs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model as ``transformers`` does; ``logits`` are ``[B, L, V]``.

        Args:
            experts: the choice for each request, see ``generate``. A router that chooses per request uses the
                whole of ``input_ids``.
            rows: the request of each token, in the shape of ``input_ids``, -1 for padding, if rows of the
                batch hold several requests; None means that each row is one request.
            inputs: of the ``transformers`` model.

        Raises:
            ValueError: if the list has not one choice per request, or a choice is of another type.
            UnknownExpert: if a name is not on this model.
        """
        with self.stack.in_use(), self._choosing(experts, inputs, rows):
            return self.model(**inputs)

    def router(self, name: str | None, *, combine: str = "outputs", **options: Any) -> Router:
        """Build a router for these experts, as an argument of calls: ``generate(…, experts=router)``.

        Args:
            name: a key of ``ROUTERS``; None for the base model alone.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.
            options: of the router: the fields of its configuration.

        Raises:
            ValueError: if there is no such router or option, an option does not suit the experts, or the
                router needs a fact that was not given with ``provide``.
        """
        config = None if name is None else configure_router(name, options)
        with self.stack.in_use():
            return build_router(name, config, combine, self.facts)

    def set_router(
        self, router: str | None, options: RouterConfig | None = None, combine: str = "outputs"
    ) -> None:
        """Set the default router of all threads; nothing is reloaded.

        Args:
            router: a key of ``ROUTERS``; None for the base model alone.
            options: the router's configuration (``ArrowConfig`` for ``"arrow"``); None takes its defaults.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.

        Raises:
            ValueError: if the router or ``combine`` is unknown, the options are another router's or do not
                suit the experts, the router needs a fact that was not given with ``provide``, or this thread
                is within ``assign`` or ``routed``.
        """
        with self.stack.context.lock.changing("set a router"):
            self._default = build_router(router, options, combine, self.facts)
            self.stack.set_default(None if router is None else self._default)

    def prototypes(self) -> dict[str, LayerPrototypes]:
        """Return every layer's Arrow prototypes ``[E, I]`` and gains ``[E]``, computed at first use."""
        with self.stack.in_use(), self.facts.lock:
            found = self.facts.find("prototypes")
        return {path: (rows, found["gains"][path]) for path, rows in found["prototypes"].items()}

    def provide(
        self,
        facts: Mapping[str, Mapping[str, Tensor]] | None = None,
        *,
        names: Sequence[str] | None = None,
        encoder: Encoder | None = None,
        **named: Mapping[str, Tensor] | None,
    ) -> None:
        """Give facts from examples of tasks that some routers need; each is kept until its expert is removed.

        Args:
            facts: facts by name in ``FACTS``. Facts of layers, such as ``"means"`` and ``"gates"``: module
                path -> ``[N, I]``. Facts of the output, such as ``"embeddings"``: expert -> its examples'
                ``[N, D]``.
            names: the experts of the rows, for facts of layers; None means all that a router may choose.
            encoder: the encoder of the embeddings, texts -> ``[N, D]``; None means the base model.
            named: further facts by name, such as ``means=…``.

        Raises:
            ValueError: if there is no such fact, a path or shape does not fit this model, or an encoder is
                given without embeddings.
            UnknownExpert: if a name is not on this model.
        """
        twice = sorted((facts or {}).keys() & named.keys())
        if twice:
            raise ValueError(f"{quote(twice[0])} is given twice: in facts, and by its name")
        everything = {**(facts or {}), **named}
        given = {name: rows for name, rows in everything.items() if rows is not None}
        with self.stack.in_use(), self.facts.lock:
            chosen = self.names if names is None else names
            self.facts.give(given, chosen, encoder)

    def add_expert(self, expert: Expert) -> None:
        """Add an expert that the router may choose; nothing else is reloaded.

        The stacks grow by one, and only the new expert's facts are computed. The current router is kept, with
        its options.

        Raises:
            ValueError: if this thread is within ``assign`` or ``routed``, if the router's options do not suit
                the new experts, or if the router needs a fact of the new expert that must be given.
            IncompatibleExpert: if the name is taken, or the expert is for another base model.
        """
        with self.stack.context.lock.changing("add an expert"):
            check_base(self.base, expert)
            (expert,) = fit_paths(self.model, {expert.name: expert}).values()
            self._check_routing((*self.names, expert.name))
            self.facts.add(insert_expert(self.stack, expert, len(self.names)), expert)
            try:
                self.set_router(*self.routing)
            except BaseException:
                self._forget(expert.name)
                raise

    def remove_expert(self, name: str) -> None:
        """Remove an expert from the model; the current router is kept, with its options.

        Raises:
            ValueError: if this thread is within ``assign`` or ``routed``, if the expert is the last one, or
                if the router's options do not suit the others.
            UnknownExpert: if no expert that a router may choose has this name.
        """
        with self.stack.context.lock.changing("remove an expert"):
            self.facts.require(name)
            left = tuple(other for other in self.names if other != name)
            if not left:
                raise ValueError(f"expert {name!r} is the last one: use detach() to get the base model back")
            self._check_routing(left)
            self._forget(name)

    @contextmanager
    def routed(
        self, router: str | None, options: RouterConfig | None = None, combine: str = "outputs"
    ) -> Iterator[None]:
        """Within this context another router is the default, in this thread; see ``set_router``."""
        with self.stack.in_use():
            chosen = build_router(router, options, combine, self.facts)
            with self.stack.choosing(chosen):
                yield

    @contextmanager
    def assign(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within this context each sequence of a batch uses the expert named for it, in this thread.

        Args:
            names: one expert's name per sequence; None means the base model alone.

        Raises:
            UnknownExpert: if a name is not on this model.
        """
        with self.stack.in_use(), self.stack.assign(names):
            yield

    @torch.inference_mode()
    def generate(
        self,
        prompts: str | Sequence[Prompt],
        *,
        experts: ExpertChoice | Sequence[ExpertChoice] = AUTO,
        max_new_tokens: int | Sequence[int] = 64,
        first_line: bool | Sequence[bool] = False,
        temperature: float = 0.0,
        top_p: float = 1.0,
        generation_config: GenerationConfig | None = None,
        compile: bool | CompileConfig = False,
    ) -> str | list[Any]:
        """Continue prompts. A router that chooses per request chooses once, from each prompt.

        Args:
            prompts: one text, or several texts or lists of token ids, which run as one batch. A text is
                tokenised with the tokenizer's begin-of-text token, if it has one, and without an end token.
            experts: the choice for each prompt, or for all: an expert's name, ``{name: weight}``, a router of
                ``router(…)`` or any other ``Chooser``, None for the base model alone, ``"auto"`` for the
                router of the context or the current one.
            max_new_tokens: maximum number of tokens to add; one number for all, or one per prompt.
            first_line: whether an answer ends with its first line of visible text; for all, or per prompt.
            temperature: 0 takes the most probable token, whatever the base model's configuration prefers;
                above 0, tokens are sampled.
            top_p: sample from the most probable tokens with this total probability.
            generation_config: its settings, such as ``repetition_penalty``, have precedence over all of
                these, but for special tokens and cache; ``model.base.model.generation_config`` uses the base
                model's preferences.
            compile: compile the step of each token by ``torch.compile``, with a cache of fixed length; on
                GPUs as CUDA graphs. The first answer then takes a minute or more, as does the first one with
                another batch size, router or number of experts. A ``CompileConfig`` sets the details.
                Compiled generation runs in one thread at a time.

        Returns:
            The continuation of each prompt, without special tokens and the token that ends the answer, but
            with the space after the prompt; a string for a string. If all prompts are token ids and the base
            model was given without a tokenizer, the added token ids, up to and including the one that ends
            the answer.

        Raises:
            ValueError: if a prompt is empty, a number is out of range, the list has not one choice per
                prompt, or a choice is of another type.
            UnknownExpert: if a name is not on this model.
            BaseModelError: if a prompt is a text and there is no tokenizer, or the base model has too few
                positions for a prompt and its answer.
        """
        check_sampling(temperature, generation_config)
        generation = describe_generation(
            self.model, temperature=temperature, top_p=top_p, config=generation_config
        )
        batch = [prompts] if isinstance(prompts, str) else prompts
        given = getattr(generation_config, "max_new_tokens", None)
        limits = spread_limits(max_new_tokens if given is None else given, first_line, len(batch))
        inputs = self._encode(batch)
        # The last new token is not an input of the model.
        longest = max(
            length + limit.max_new_tokens - 1
            for length, limit in zip(inputs["attention_mask"].sum(1).tolist(), limits, strict=True)
        )
        check_length(self.model, longest, "the longest prompt with its answer")
        alone = self._compiled if compile else nullcontext()
        with self.stack.in_use(), alone, self._choosing(experts, inputs):
            answers = answer_prompts(self.stack, self.base, inputs, limits, generation, compile)
        if self.base.given_tokenizer is None and not any(isinstance(prompt, str) for prompt in batch):
            return answers
        texts = decode_answers(self.tokenizer, list_prompts(inputs), answers, find_ending_ids(self.base))
        return texts[0] if isinstance(prompts, str) else texts

    @torch.inference_mode()
    def explain(self, text: Prompt, num_prompt_tokens: int | None = None) -> Explanation:
        """Run a text and return the experts that each token used at each layer.

        Args:
            text: a text, tokenised as by ``generate``, or its token ids.
            num_prompt_tokens: number of its first tokens that are the prompt, for routers that choose per
                request; None means all.

        Raises:
            ValueError: if no router is set, the text is empty, or it has fewer tokens than
                ``num_prompt_tokens``.
            BaseModelError: if the base model has too few positions for it.
        """
        inputs = self._encode([text])
        check_length(self.model, inputs["input_ids"].shape[1], "the text")
        with self.stack.in_use():
            names, chooser = self.names, self._active
            seen = {}
            if isinstance(chooser, Router) and chooser.decider is not None:
                seen = chooser.decider.explain(inputs["input_ids"], num_prompt_tokens, len(names))
            elif isinstance(chooser, LayerRouters):
                recorder = Recorder(chooser, len(names))
                with self.stack.choosing(recorder):
                    self.model(**inputs)
                seen = recorder.seen
        if not seen:
            raise ValueError(
                "there is no routing to explain: no router is set, or experts are assigned by name; use "
                "set_router first, outside of assign"
            )
        tokens = [self.tokenizer.decode([token]) for token in inputs["input_ids"][0].tolist()]
        return build_explanation(tokens, names, seen)

    def detach(self) -> BaseModel:
        """Remove the experts and return the original base model."""
        self.stack.detach()
        return self.base

    def _encode(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        return encode_prompts(self.base, prompts, self.model.device)

    @property
    def _active(self) -> Chooser | None:
        """Who chooses in this thread where nobody is named."""
        return self.stack.context.active.chooser

    @property
    def _router(self) -> Router:
        """The router in charge in this thread, also where experts are assigned."""
        chooser = self._active
        return chooser if isinstance(chooser, Router) else self._default

    @contextmanager
    def _choosing(
        self,
        experts: ExpertChoice | Sequence[ExpertChoice],
        inputs: Mapping[str, Any],
        rows: Tensor | None = None,
    ) -> Iterator[None]:
        """Within this context each request of a call is answered by whom it names."""
        active = self.stack.context.active
        decides = isinstance(active.chooser, Router) and active.chooser.decider is not None
        if experts == AUTO and not decides:
            chooser, num_requests = active.chooser, active.num_requests
            rows = active.rows if rows is None else rows
        else:
            num_requests = find_requests(inputs, rows)
            choices = spread_choices(experts, num_requests)
            chooser = build_chooser(self.stack, choices, active.chooser, Prompts(inputs, rows))
        with self.stack.choosing(chooser, rows, num_requests if rows is None else None):
            yield

    def _check_routing(self, names: Sequence[str]) -> None:
        """Refuse if the router that is set could not choose among these experts."""
        router, options, _ = self.routing
        if router is not None:
            self.facts.check(find_config(router, options, names).needs, names)

    def _forget(self, name: str) -> None:
        self.facts.remove(drop_expert(self.stack, name), name)
        self.set_router(*self.routing)
