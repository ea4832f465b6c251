"""A base model with experts and a router.

B sequences of a batch, L their length, V vocabulary, E experts, N rows, I layer input, D width of embeddings.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import CompileConfig, GenerationConfig
from transformers.modeling_outputs import CausalLMOutputWithPast, Seq2SeqLMOutput

from lorary.assembly.answering import answer_prompts
from lorary.assembly.choosing import AUTO, ExpertChoice
from lorary.assembly.current_router import CurrentRouter
from lorary.assembly.deciding import RequestDecider
from lorary.assembly.direct_calls import DirectCalls
from lorary.assembly.encoder_calls import EncoderCalls
from lorary.assembly.explaining import explain_text
from lorary.assembly.explanation import Explanation
from lorary.assembly.generate_call import prepare_call, write_answers
from lorary.assembly.growing import add_expert, remove_expert
from lorary.assembly.held_model import HeldModel
from lorary.assembly.nearest_tasks import find_nearest_tasks
from lorary.assembly.notebook import draw_model
from lorary.assembly.prompts import Prompt
from lorary.assembly.router import Router, build_router
from lorary.assembly.tasks import MEAN, PREFIX, list_tasks
from lorary.experts import Expert
from lorary.experts.skills import SkillSet
from lorary.facts.encoder import Encoder
from lorary.facts.fact import OnWork
from lorary.facts.given import join_given
from lorary.facts.known import Facts
from lorary.files import quote, say_count
from lorary.models import BaseModel, ExpertStack
from lorary.models.generation import Sampling
from lorary.routing import RouterConfig, configure_router


class RoutedModel(HeldModel):
    """A base model with experts and a router; made by ``load_model``.

    Threads may share a model. ``assign`` and ``routed`` apply to the thread that enters them. ``set_router``,
    ``add_expert``, ``remove_expert`` and ``detach`` apply to all threads, and wait until no other thread is
    in a call or a context. So a thread inside a context must not wait for another thread that uses the model.

    Args:
        base: the base model, with the experts attached.
        stack: all experts on the model.
        experts: the experts that a router may choose, first in the stack; the rest are controls, which are
            used by name only.
        skills: the skills whose tasks have experts in the stack, see ``lorary.assembly.tasks``; None for no
            tasks.
        on_progress: see ``load_model``.
    """

    def __init__(
        self,
        base: BaseModel,
        stack: ExpertStack,
        experts: Mapping[str, Expert],
        skills: SkillSet | None = None,
        on_progress: OnWork | None = None,
    ):
        super().__init__(base)
        self.skills = skills
        self.facts = Facts(base, stack, experts, on_progress)
        self._current = CurrentRouter(self.facts)
        calls = EncoderCalls if base.is_encoder_decoder else DirectCalls
        self._hooks = calls(stack.context).watch(base.model)
        # PyTorch's compiler is not made for several threads that run what it compiled.
        self._compiled = threading.RLock()

    def __repr__(self) -> str:
        router = f"router {self.routing[0]}" if self.routing[0] else "no router"
        return f"<RoutedModel {quote(self.base.name)} with {say_count(len(self.names), 'expert')}, {router}>"

    def _repr_html_(self) -> str:
        return draw_model(self)

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
        """The experts that are used by name only; those of tasks are not listed."""
        of_tasks = {MEAN, *(f"{PREFIX}{task}" for task in self.tasks)}
        return tuple(name for name in self.facts.controls if name not in of_tasks)

    @property
    def general(self) -> str | None:
        """The model's general expert; None if it has none.

        It is always on for the experts that stand on it, see ``ExpertCard.on_top_of``. If none does, it is
        what routers may fall back on.
        """
        return None if self.facts.general is None else self.facts.general.name

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the model's skills, which ``experts={"task": name}`` uses."""
        return list_tasks(self.stack.names)

    @property
    def decider(self) -> RequestDecider | None:
        """The current router's decider, if it chooses once per request; else None."""
        return self._current.router.decider

    @property
    def routing(self) -> tuple[str | None, RouterConfig | None, str]:
        """The current router, its options and how experts are combined."""
        return self._current.settings

    @torch.inference_mode()
    def nearest_tasks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Find the task nearest to each prompt, by cosines of the base model's mean last hidden states.

        A task has the mean of its training prompts; the mean of all tasks is subtracted. Pass
        ``{"task": name}`` of the result for a request whose task is not in the table.

        Args:
            prompts: texts or lists of token ids, each in the form of the training prompts.

        Raises:
            ValueError: if the model's skills have no embeddings of tasks, or a prompt is empty.
        """
        with self.stack.in_use():
            return find_nearest_tasks(self.base, self.stack, self.skills, prompts)

    def __call__(
        self,
        input_ids: Tensor | None = None,
        *,
        experts: ExpertChoice | Sequence[ExpertChoice] = AUTO,
        rows: Tensor | None = None,
        **inputs: Any,
    ) -> CausalLMOutputWithPast | Seq2SeqLMOutput:
        """Run the model as ``transformers`` does; ``logits`` are ``[B, L, V]``.

        If the model has an encoder and a decoder, the encoder reads ``input_ids``, the inputs have
        ``decoder_input_ids`` or ``labels`` too, and both use the experts of their row's request.

        Args:
            input_ids: the batch, ``[B, L]``; None if the inputs have ``inputs_embeds``.
            experts: the choice for each request, see ``generate``. A router that chooses per request uses the
                whole of ``input_ids``.
            rows: the request of each token, in the shape of ``input_ids``, -1 for padding, if rows of the
                batch hold several requests; None means that each row is one request. An encoder's row must be
                of one request.
            inputs: of the ``transformers`` model.

        Raises:
            ValueError: if the list has not one choice per request, or a choice is of another type.
            UnknownExpert: if a name is not on this model.
        """
        if input_ids is not None:
            inputs["input_ids"] = input_ids
        with self.stack.in_use(), self._current.choosing(experts, inputs, rows):
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
        self._current.set(router, options, combine)

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
        given = join_given(facts or {}, named)
        with self.stack.in_use(), self.facts.lock:
            self.facts.give(given, self.names if names is None else names, encoder)

    def add_expert(self, expert: Expert, *, trust_base: bool = False) -> None:
        """Add an expert that the router may choose; nothing else is reloaded.

        The stacks grow by one, and only the new expert's facts are computed. The current router is kept, with
        its options. ``trust_base`` takes an expert that names another base model, with a warning.

        Raises:
            ValueError: if this thread is within ``assign`` or ``routed``, if the router's options do not suit
                the new experts, or if the router needs a fact of the new expert that must be given.
            IncompatibleExpert: if the name is taken, or the expert is for another base model.
        """
        add_expert(self.facts, self._current, expert, trust_base)

    def remove_expert(self, name: str) -> None:
        """Remove an expert from the model; the current router is kept, with its options.

        Raises:
            ValueError: if this thread is within ``assign`` or ``routed``, if the expert is the last one, or
                if the router's options do not suit the others.
            UnknownExpert: if no expert that a router may choose has this name.
        """
        remove_expert(self.facts, self._current, name)

    def routed(
        self, router: str | None, options: RouterConfig | None = None, combine: str = "outputs"
    ) -> AbstractContextManager[None]:
        """Within this context another router is the default, in this thread; see ``set_router``."""
        return self._current.routed(router, options, combine)

    def assign(self, names: Sequence[str | None]) -> AbstractContextManager[None]:
        """Within this context each sequence of a batch uses the expert named for it, in this thread.

        Args:
            names: one expert's name per sequence; None means the base model alone.

        Raises:
            UnknownExpert: if a name is not on this model.
        """
        return self._current.assigned(names)

    @torch.inference_mode()
    def generate(
        self,
        prompts: str | Sequence[Prompt],
        *,
        experts: ExpertChoice | Sequence[ExpertChoice] = AUTO,
        max_new_tokens: int | Sequence[int] = 64,
        first_line: bool | Sequence[bool] = False,
        stops: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        do_sample: bool | None = None,
        seed: int | None = None,
        generation_config: GenerationConfig | None = None,
        compile: bool | CompileConfig = False,
    ) -> str | list[Any]:
        """Continue prompts. A router that chooses per request chooses once, from each prompt.

        Args:
            prompts: one text, or several texts or lists of token ids, which run as one batch. A text is
                tokenised with the tokenizer's begin-of-text token, if it has one, and without an end token;
                for an encoder, with all tokens that the tokenizer puts around it.
            experts: the choice for each prompt, or for all: an expert's name, ``{name: weight}``,
                ``{"task": name}`` for a task of the model's skills (with None in place of the name: the mean
                of all tasks, for one that is not in their table), a router of ``router(…)`` or any other
                ``Chooser``, None for the base model alone, ``"auto"`` for the router of the context or the
                current one.
            max_new_tokens: maximum number of tokens to add; one number for all, or one per prompt.
            first_line: whether an answer ends with its first line of visible text; for all, or per prompt.
            stops: texts that end an answer; the answer is the text before the first of them.
            temperature: 0 takes the most probable token, whatever the base model's configuration prefers;
                above 0, tokens are sampled.
            top_p: sample from the most probable tokens with this total probability.
            top_k: sample from this number of most probable tokens; 0 means all.
            do_sample: whether to sample; None: if the temperature is above 0. True raises a temperature of 0
                to 1.
            seed: seed of the draws; None for PyTorch's global generator.
            generation_config: its settings, such as ``repetition_penalty``, have precedence over all of
                these, but for special tokens and cache; ``model.base.model.generation_config`` uses the base
                model's preferences.
            compile: compile the step of each token by ``torch.compile``, with a cache of fixed length; on
                GPUs as CUDA graphs. The first answer then takes a minute or more, as does the first one with
                another batch size, router or number of experts. A ``CompileConfig`` sets the details.
                Compiled generation runs in one thread at a time. Models with an encoder are not compiled.

        Returns:
            The continuation of each prompt, without special tokens and the token that ends the answer, but
            with the space after the prompt; or what the decoder answers to it. A string for a string. If all
            prompts are token ids and the base model was given without a tokenizer, the added token ids, up to
            and including the one that ends the answer.

        Raises:
            ValueError: if a prompt is empty, a number is out of range, the list has not one choice per
                prompt, the model's skills have no such task, or a choice is of another type.
            UnknownExpert: if a name is not on this model.
            BaseModelError: if a prompt is a text and there is no tokenizer, or the base model has too few
                positions for a prompt and its answer.
        """
        sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, do_sample=do_sample, seed=seed)
        limits = (max_new_tokens, first_line, stops)
        call = prepare_call(self.base, prompts, *limits, sampling, generation_config)
        alone = self._compiled if compile else nullcontext()
        chosen = self._current.choosing(experts, call.inputs)
        with self.stack.in_use(), alone, chosen, sampling.seeded(self.device):
            answers = answer_prompts(self.stack, self.base, call, compile)
        return write_answers(self.base, call, answers)

    @torch.inference_mode()
    def explain(self, text: Prompt, num_prompt_tokens: int | None = None) -> Explanation:
        """Run a text and return the experts that each token used at each layer.

        If the model has an encoder, the encoder alone reads the text, and its layers are returned.

        Args:
            text: a text, tokenised as by ``generate``, or its token ids.
            num_prompt_tokens: number of its first tokens that are the prompt, for routers that choose per
                request; None means all.

        Raises:
            ValueError: if no router is set, the text is empty, or it has fewer tokens than
                ``num_prompt_tokens``.
            BaseModelError: if the base model has too few positions for it.
        """
        with self.stack.in_use():
            return explain_text(self.facts, self._current.chooser, text, num_prompt_tokens)

    def detach(self) -> BaseModel:
        """Remove the experts and return the original base model."""
        self.stack.detach()
        for hook in self._hooks:
            hook.remove()
        return self.base
