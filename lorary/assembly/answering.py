"""Letting a model go on from prompts.

B prompts, L their length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import CompileConfig

from lorary.assembly.prompts import find_ending_ids, find_padding_id
from lorary.models import BaseModel, ExpertStack
from lorary.passes import can_pad_left


def group_prompts(stack: ExpertStack, attention_mask: Tensor) -> list[list[int]]:
    """Divide prompts so that each group can run as one batch: all, or those of one length.

    Args:
        stack: the experts on the model.
        attention_mask: ``[B, L]``, padded on the left.
    """
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(attention_mask.sum(1).tolist()):
        groups.setdefault(length, []).append(index)
    if len(groups) == 1 or can_pad_left(stack):
        return [list(range(len(attention_mask)))]
    return list(groups.values())


def take_prompts(inputs: Mapping[str, Tensor], members: Sequence[int]) -> dict[str, Tensor]:
    """Take some prompts out of a batch padded on the left, with as little padding as these need."""
    length = int(inputs["attention_mask"][list(members)].sum(1).max())
    return {name: tensor[list(members), -length:] for name, tensor in inputs.items()}


def continue_prompts(
    base: BaseModel,
    inputs: Mapping[str, Tensor],
    generation: Mapping[str, Any],
    compile: bool | CompileConfig,
) -> list[list[int]]:
    """Continue prompts with the answers generated under the current routing.

    Args:
        base: the model.
        inputs: ``input_ids`` and ``attention_mask``, ``[B, L]``, padded on the left.
        generation: how tokens are chosen, see ``describe_generation``.
        compile: whether, and how, to compile what is done for each token.

    Returns:
        The token ids that were added to each prompt, up to and with the one that ends the answer.
    """
    padding, ending = find_padding_id(base), find_ending_ids(base)
    output = base.model.generate(
        **inputs,
        pad_token_id=padding,
        eos_token_id=ending or None,
        **generation,
        **_say_how_to_compile(compile),
    )
    rows: list[list[int]] = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [_cut_padding(row, ending) for row in rows]


def _cut_padding(ids: list[int], ending: Sequence[int]) -> list[int]:
    """Leave out what follows the end of an answer, because others of its batch are longer."""
    last = next((place for place, token in enumerate(ids) if token in ending), len(ids) - 1)
    return ids[: last + 1]


def _say_how_to_compile(compile: bool | CompileConfig) -> dict[str, Any]:
    if not compile:
        return {}
    config = CompileConfig() if compile is True else compile
    config._compile_all_devices = True  # else transformers compiles on GPUs only
    # Steps are alike only if the cache does not grow.
    return {"cache_implementation": "static", "compile_config": config}
