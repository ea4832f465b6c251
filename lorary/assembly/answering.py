"""Generate the continuations of prompts.

B prompts, L their length.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import CompileConfig, DynamicCache, PreTrainedModel, StoppingCriteriaList
from transformers.cache_utils import DynamicLayer

from lorary.assembly.answer_limits import AnswerLimit, AnswersEnd
from lorary.assembly.encoded_answers import answer_encoded
from lorary.assembly.generate_call import GenerateCall
from lorary.assembly.prompts import find_ending_ids, find_padding_id
from lorary.models import BaseModel, ExpertStack
from lorary.models.generation import depends_on_place
from lorary.models.quantized.packed_layers import mixes_tokens
from lorary.passes.left_padding import can_pad_left

# Number of steps after which finished rows leave their batch; each time costs a few milliseconds.
NUM_STEPS = 8


def group_prompts(
    stack: ExpertStack, attention_mask: Tensor, generation: Mapping[str, Any]
) -> list[list[int]]:
    """Divide prompts so that each group can run as one batch: all, those of one length, or one alone.

    Args:
        stack: the experts on the model.
        attention_mask: ``[B, L]``, padded on the left.
        generation: arguments of ``model.generate``, see ``describe_generation``.
    """
    if mixes_tokens(stack.model):
        return [[index] for index in range(len(attention_mask))]
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(attention_mask.sum(1).tolist()):
        groups.setdefault(length, []).append(index)
    # Settings that depend on a row's tokens would count padding as tokens of the prompt.
    if len(groups) == 1 or (not depends_on_place(generation) and can_pad_left(stack)):
        return [list(range(len(attention_mask)))]
    return list(groups.values())


def answer_prompts(
    stack: ExpertStack,
    base: BaseModel,
    call: GenerateCall,
    compile: bool | CompileConfig,
) -> list[list[int]]:
    """Continue prompts with the answers generated under the current routing, in as many batches as needed.

    Args:
        stack: the experts on the model.
        base: the model.
        call: the prompts, with the limits of their answers.
        compile: whether, or with which configuration, to compile the step of each token.

    Returns:
        The token ids added to each prompt, up to and including the one that ends the answer.
    """
    if base.is_encoder_decoder:
        if compile:
            raise ValueError(
                f"compile works for causal language models, and {type(base.model).__name__} has an encoder: "
                "leave it out"
            )
        return answer_encoded(stack, base, call)
    answers: list[list[int]] = [[] for _ in call.limits]
    # Virtual tokens in the cache are not tokens of the prompts, so transformers cannot continue with it.
    has_prompts = stack.soft_prompts.are_used(stack.context.active, len(call.limits))
    if has_prompts and compile:
        raise ValueError("an expert with a soft prompt cannot be used with compile: leave it out")
    for members in group_prompts(stack, call.inputs["attention_mask"], call.generation):
        batch = _Batch(stack, base, call.inputs, call.limits, members)
        is_whole = bool(compile) or has_prompts or call.streamer is not None
        drops = not is_whole and _can_drop_rows(base.model, call.generation)
        num_steps = NUM_STEPS if drops else None
        while batch.rows:
            shown = {} if call.streamer is None else {"streamer": call.streamer}
            batch.go_on({**call.generation, **_say_how_to_compile(compile), **shown}, num_steps)
        for row, answer in batch.answers.items():
            answers[row] = answer
    return answers


def _can_drop_rows(model: PreTrainedModel, generation: Mapping[str, Any]) -> bool:
    """Return whether rows can be removed from a model's cache between steps without changing the others."""
    if generation["do_sample"] or generation.get("use_cache", model.generation_config.use_cache) is False:
        # All rows draw from one random generator.
        return False
    if depends_on_place(generation) or model.generation_config.cache_implementation is not None:
        return False
    if "past_key_values" not in signature(model.forward).parameters:
        return False
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    return model._supports_default_dynamic_cache() and all(
        type(each) is DynamicLayer for each in cache.layers
    )


class _Batch:
    """Prompts that run as one batch; finished ones are removed from it every few steps.

    Args:
        stack: the experts on the model.
        base: the model.
        inputs: all prompts of the call.
        limits: the limit of each answer.
        members: the prompts of this batch, by their place in the call.
    """

    def __init__(
        self,
        stack: ExpertStack,
        base: BaseModel,
        inputs: Mapping[str, Tensor],
        limits: Sequence[AnswerLimit],
        members: Sequence[int],
    ):
        self.rows = list(members)
        """The unfinished prompts, by their place in the call."""
        self.answers: dict[int, list[int]] = {}
        """Finished answers, by their place in the call."""
        self._stack, self._base, self._limits = stack, base, limits
        self._length = int(inputs["attention_mask"][self.rows].sum(1).max())
        self._ids = inputs["input_ids"][self.rows, -self._length :]
        self._mask = inputs["attention_mask"][self.rows, -self._length :]
        self._cache: Any = None
        self._ending = find_ending_ids(base)
        active = stack.context.active
        self._chooser = active.chooser
        self._requests = torch.arange(len(limits)) if active.rows is None else active.rows.cpu()

    def go_on(self, generation: Mapping[str, Any], num_steps: int | None) -> None:
        """Continue all rows by some tokens, or to their ends, and remove finished rows."""
        limits = [self._limits[row] for row in self.rows]
        needs_text = any(limit.needs_text for limit in limits)
        ends = AnswersEnd(limits, self._length, self._base.tokenizer if needs_text else None)
        left = max(limit.max_new_tokens for limit in limits) - (self._ids.shape[1] - self._length)
        with self._stack.choosing(self._chooser, self._requests[self.rows]):
            output = self._base.model.generate(
                input_ids=self._ids,
                attention_mask=self._mask,
                pad_token_id=find_padding_id(self._base),
                eos_token_id=self._ending or None,
                stopping_criteria=StoppingCriteriaList([ends]),
                **generation,
                **({} if self._cache is None else {"past_key_values": self._cache}),
                **({"tokenizer": self._base.tokenizer} if generation.get("stop_strings") else {}),
                max_new_tokens=left if num_steps is None else min(left, num_steps),
                return_dict_in_generate=True,
            )
        self._ids = output.sequences
        self._take_out(ends, is_over=num_steps is None)
        if self.rows:
            self._cache = output.past_key_values
            self._cache.batch_select_indices(self._kept.to(self._ids.device))

    def _take_out(self, ends: AnswersEnd, is_over: bool) -> None:
        kept = []
        for place, (row, length) in enumerate(zip(self.rows, ends.lengths, strict=True)):
            answer = self._ids[place, self._length :].tolist()[:length]
            end = next((index + 1 for index, token in enumerate(answer) if token in self._ending), length)
            if end is None and not is_over:
                kept.append(place)
            else:
                # The rest is padding, if another answer of the batch is longer.
                self.answers[row] = answer[:end]
        self._kept = torch.tensor(kept, dtype=torch.long)
        self.rows = [self.rows[place] for place in kept]
        self._ids = self._ids[kept]
        new = self._ids.shape[1] - self._mask.shape[1]
        self._mask = torch.nn.functional.pad(self._mask[kept], (0, new), value=1)


def _say_how_to_compile(compile: bool | CompileConfig) -> dict[str, Any]:
    if not compile:
        return {}
    config = CompileConfig() if compile is True else compile
    config._compile_all_devices = True  # otherwise transformers compiles on GPUs only
    # A growing cache changes shapes at every step, which would compile again.
    return {"cache_implementation": "static", "compile_config": config}
