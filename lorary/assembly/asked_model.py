"""The calls of a routed model: forward passes, answers, and explanations of its routing.

B sequences of a batch, L their length, V vocabulary.
"""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import CompileConfig, GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_outputs import CausalLMOutputWithPast, Seq2SeqLMOutput

from lorary.assembly.answering import answer_prompts
from lorary.assembly.choosing import AUTO, ExpertChoice
from lorary.assembly.current_router import CurrentRouter
from lorary.assembly.explaining import explain_text
from lorary.assembly.explanation import Explanation
from lorary.assembly.generate_call import prepare_call, repeat_each, write_answers
from lorary.assembly.nearest_tasks import find_nearest_tasks
from lorary.assembly.prompts import Prompt, refuse_other_prompts
from lorary.assembly.tensor_calls import generate_tensors
from lorary.errors import find_near
from lorary.experts.skills import SkillSet
from lorary.facts.known import Facts
from lorary.models import BaseModel
from lorary.models.generation import Sampling

MAX_NEW_TOKENS = 64
# Arguments of ``generate`` that a misspelt one may mean.
SETTINGS = (
    "max_new_tokens",
    "first_line",
    "stop_strings",
    "temperature",
    "top_p",
    "top_k",
    "do_sample",
    "num_return_sequences",
    "generation_config",
    "streamer",
)


class AskedModel:
    """A model with experts that answers: a base of ``RoutedModel``, which sets the attributes."""

    base: BaseModel
    skills: SkillSet | None
    facts: Facts
    _current: CurrentRouter
    # PyTorch's compiler does not support several threads that run compiled code.
    _compiled: "threading.RLock"

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
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
            attention_mask: which of its tokens are no padding, ``[B, L]``; None: all.
            experts: the choice for each request, see ``generate``. A request router uses
                the whole of ``input_ids``.
            rows: the request of each token, in the shape of ``input_ids``, -1 for padding, if rows of the
                batch hold several requests; None means that each row is one request. An encoder's row must be
                of one request.
            inputs: of the ``transformers`` model.

        Raises:
            ValueError: if the list does not have one choice per request, or a choice is of another type.
            UnknownExpert: if a name is not on this model.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        inputs |= {name: tensor for name, tensor in given.items() if tensor is not None}
        with self.facts.stack.in_use(), self._current.choosing(experts, inputs, rows):
            return self.base.model(**inputs)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt] | Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        experts: ExpertChoice | Sequence[ExpertChoice] = AUTO,
        max_new_tokens: int | Sequence[int] | None = None,
        first_line: bool | Sequence[bool] = False,
        stop_strings: str | Sequence[str] = (),
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        do_sample: bool | None = None,
        seed: int | None = None,
        num_return_sequences: int = 1,
        streamer: BaseStreamer | None = None,
        compile: bool | CompileConfig = False,
        **inputs: Any,
    ) -> Any:
        """Continue prompts. A request router chooses once, from each prompt.

        With ``input_ids`` instead of prompts, as in ``generate(**tokenizer("…", return_tensors="pt"))``,
        this is the ``generate`` of ``transformers`` with routing: its defaults apply to all arguments
        that are not given, and it returns tensors that begin with the prompts.

        Args:
            prompts: one text or conversation (a list of ``{"role": …, "content": …}``), or several texts,
                conversations or lists of token ids, which run as one batch. A text is tokenised with the
                tokenizer's begin-of-text token, if it has one, and without an end token; for an encoder, with
                all tokens that the tokenizer puts around it. A tensor is treated as ``input_ids``.
            experts: the choice for each prompt, or for all: an expert's name, ``{name: weight}``,
                ``{"task": name}`` for a task of the model's skills (None instead of the
                name: the mean of all tasks, for a task that is not in their table), a router from
                ``router(…)`` or any other ``Chooser``, None for the base model alone, or ``"auto"``
                for the current router.
            max_new_tokens: maximum number of tokens to add; one number for all, or one per prompt; None: 64.
            first_line: whether an answer ends with its first line of visible text; one value for all, or one
                per prompt.
            stop_strings: a text or texts that end an answer, which is the text before the first of them.
            temperature: 0 or None takes the most probable token, regardless of the base model's
                configuration; above 0, tokens are sampled.
            top_p: sample from the smallest set of most probable tokens with this total probability; None: 1.
            top_k: sample from this number of most probable tokens; 0 or None: all.
            do_sample: whether to sample; None: if the temperature is above 0. True changes a
                temperature of 0 to 1.
            seed: seed of the sampling; None for PyTorch's global generator.
            num_return_sequences: number of answers to each prompt, if tokens are sampled.
            generation_config: its settings, such as ``repetition_penalty``, take precedence
                over all of these, except special tokens and cache; ``model.base.model.generation_config``
                uses the base model's preferences.
            streamer: a streamer of ``transformers``, which gets the tokens of one answer one by one.
            compile: compile the step of each token by ``torch.compile``, with a cache of fixed length; on
                GPUs as CUDA graphs. The first answer then takes a minute or more, as does the first one with
                another batch size, router or number of experts. A ``CompileConfig`` sets the details.
                Compiled generation runs in one thread at a time. Models with an encoder are not compiled.
            inputs: ``input_ids`` and further arguments of ``transformers``, in place of prompts.

        Returns:
            The continuation of each prompt, without special tokens and the token that ends the answer,
            but with the space after the prompt; for an encoder, the decoder's answer. A string for one text
            or conversation; several answers to a prompt follow one another in the list. If all prompts are
            token ids and the base model has no tokenizer, the added token ids are returned, up to and
            including the one that ends the answer.

        Raises:
            ValueError: if a prompt is empty, a number is out of range, the list does not have
                one choice per prompt, the model's skills have no such task, or a choice is of another type.
            TypeError: if there are prompts and arguments of ``transformers``, or prompts are of another type.
            UnknownExpert: if a name is not on this model.
            BaseModelError: if a prompt is a text and there is no tokenizer, or a conversation and no chat
                template, or the base model has too few positions for a prompt and its answer.
        """
        sampling = Sampling(
            temperature=temperature or 0.0,
            top_p=1.0 if top_p is None else top_p,
            top_k=top_k or 0,
            do_sample=do_sample,
            seed=seed,
        )
        if isinstance(prompts, Tensor) or prompts is None:
            given = {} if prompts is None else {"input_ids": prompts}
            settings = {
                "max_new_tokens": max_new_tokens,
                "first_line": first_line,
                "stop_strings": stop_strings,
                "temperature": temperature,
                "top_p": top_p,
                "top_k": top_k,
                "do_sample": do_sample,
                "num_return_sequences": num_return_sequences,
                "generation_config": generation_config,
                "streamer": streamer,
                "compile": compile,
            }
            with self.facts.stack.in_use(), sampling.seeded(self.base.model.device):
                return generate_tensors(self.base, self._current, experts, {**given, **inputs}, settings)
        if inputs:
            near = {name: find_near(name, SETTINGS) for name in inputs}
            hints = [f"did you mean {' or '.join(map(repr, names))}?" for names in near.values() if names]
            raise TypeError(
                f"generate takes {', '.join(inputs)} with input_ids only: "
                + (" ".join(hints) or "put settings of transformers into generation_config")
            )
        limits = (MAX_NEW_TOKENS if max_new_tokens is None else max_new_tokens, first_line, stop_strings)
        refuse_other_prompts(prompts)
        call = prepare_call(
            self.base, prompts, *limits, sampling, generation_config, num_return_sequences, streamer
        )
        alone = self._compiled if compile else nullcontext()
        chosen = self._current.choosing(repeat_each(experts, call.num_answers), call.inputs)
        with self.facts.stack.in_use(), alone, chosen, sampling.seeded(self.base.model.device):
            answers = answer_prompts(self.facts.stack, self.base, call, compile)
        return write_answers(self.base, call, answers)

    @torch.inference_mode()
    def explain(self, text: Prompt, num_prompt_tokens: int | None = None) -> Explanation:
        """Run a text and return the experts that each token used at each layer.

        If the model has an encoder, only the encoder reads the text, and its layers are returned.

        Args:
            text: a text, tokenised as by ``generate``, or its token ids.
            num_prompt_tokens: number of its first tokens that are the prompt, for
                request routers; None means all.

        Raises:
            ValueError: if no router is set, the text is empty, or it has fewer tokens than
                ``num_prompt_tokens``.
            BaseModelError: if the base model has too few positions for it.
        """
        with self.facts.stack.in_use():
            return explain_text(self.facts, self._current.chooser, text, num_prompt_tokens)

    @torch.inference_mode()
    def nearest_tasks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Find the task nearest to each prompt, by cosines of the base model's mean last hidden states.

        A task is represented by the mean of its training prompts; the mean of all tasks is subtracted.
        Pass ``{"task": name}`` with a name of the result for a request whose task is not in the table.

        Args:
            prompts: texts or lists of token ids, each in the form of the training prompts.

        Raises:
            ValueError: if the model's skills have no embeddings of tasks, or a prompt is empty.
        """
        with self.facts.stack.in_use():
            return find_nearest_tasks(self.base, self.facts.stack, self.skills, prompts)
