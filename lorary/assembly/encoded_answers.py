"""Generate the answers of a model whose encoder reads the prompts.

B prompts, L their length.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteriaList

from lorary.assembly.answer_limits import AnswersEnd
from lorary.assembly.generate_call import GenerateCall
from lorary.assembly.prompts import find_ending_ids, find_padding_id
from lorary.models import BaseModel, ExpertStack
from lorary.passes.encoded_trial import can_pad_encoded

# A decoder begins with one token, which is not part of the answer.
_NUM_START = 1


def answer_encoded(stack: ExpertStack, base: BaseModel, call: GenerateCall) -> list[list[int]]:
    """Answer prompts with the current routing, in as many batches as needed.

    The experts of a request are used by the encoder on its prompt and by the decoder on its answer.

    Args:
        stack: the experts on the model.
        base: the model.
        call: the prompts, padded on the right, with the limits of their answers.

    Returns:
        The token ids of each answer, up to and including the one that ends it.
    """
    answers: list[list[int]] = [[] for _ in call.limits]
    active = stack.context.active
    requests = torch.arange(len(call.limits)) if active.rows is None else active.rows.cpu()
    for members in _group_prompts(stack, call):
        with stack.choosing(active.chooser, requests[members]):
            found = _answer_batch(base, call, members)
        for row, answer in zip(members, found, strict=True):
            answers[row] = answer
    return answers


def _group_prompts(stack: ExpertStack, call: GenerateCall) -> list[list[int]]:
    """Divide prompts so that each group can run as one batch: all, or those of one length."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(call.inputs["attention_mask"].sum(1).tolist()):
        groups.setdefault(length, []).append(index)
    if len(groups) > 1 and not _looks_at_prompts(call.generation):
        with stack.choosing(None):
            if can_pad_encoded(stack.model):
                return [list(range(len(call.limits)))]
    return list(groups.values())


def _looks_at_prompts(generation: Mapping[str, Any]) -> bool:
    """Return whether the choice of a token depends on the prompt's tokens, to which padding would belong."""
    defaults = GenerationConfig._get_default_generation_params()
    return any(
        value is not None and value != defaults.get(name)
        for name, value in generation.items()
        if name.startswith("encoder_")
    )


def _answer_batch(base: BaseModel, call: GenerateCall, members: list[int]) -> list[list[int]]:
    limits = [call.limits[row] for row in members]
    longest = int(call.inputs["attention_mask"][members].sum(1).max())
    needs_text = any(limit.needs_text for limit in limits)
    ends = AnswersEnd(limits, _NUM_START, base.tokenizer if needs_text else None)
    ending = find_ending_ids(base)
    output = base.model.generate(
        input_ids=call.inputs["input_ids"][members, :longest],
        attention_mask=call.inputs["attention_mask"][members, :longest],
        pad_token_id=find_padding_id(base),
        eos_token_id=ending or None,
        stopping_criteria=StoppingCriteriaList([ends]),
        **call.generation,
        **({} if call.streamer is None else {"streamer": call.streamer}),
        **({"tokenizer": base.tokenizer} if call.generation.get("stop_strings") else {}),
        max_new_tokens=max(limit.max_new_tokens for limit in limits),
        return_dict_in_generate=True,
    )
    return [
        _cut(ids, length, ending)
        for ids, length in zip(output.sequences[:, _NUM_START:], ends.lengths, strict=True)
    ]


def _cut(ids: Tensor, length: int | None, ending: list[int]) -> list[int]:
    """Return an answer up to its limit and its end; the rest is padding, if another answer is longer."""
    answer: list[int] = ids.tolist()[:length]
    end = next((index + 1 for index, token in enumerate(answer) if token in ending), None)
    return answer[:end]
