"""Letting a model go on from prompts.

B prompts, L their length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import CompileConfig

from lorary.assembly.prompts import find_ending_ids, find_padding_id
from lorary.models import BaseModel


def check_sampling(max_new_tokens: int, temperature: float) -> None:
    """Refuse numbers that no answer can be drawn with.

    Raises:
        ValueError: naming both.
    """
    if max_new_tokens < 1 or not temperature >= 0:
        raise ValueError(
            "max_new_tokens must be at least 1 and temperature at least 0, "
            f"found {max_new_tokens!r} and {temperature!r}"
        )


def continue_prompts(
    base: BaseModel,
    inputs: Mapping[str, Tensor],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    compile: bool | CompileConfig,
) -> list[list[int]]:
    """Continue prompts with the answers generated under the current routing.

    Args:
        base: the model.
        inputs: ``input_ids`` and ``attention_mask``, ``[B, L]``, padded on the left.
        max_new_tokens: most tokens to add to each.
        temperature: 0 always takes the likeliest token; above, tokens are sampled.
        top_p: sample from the likeliest tokens that hold this much probability.
        compile: whether, and how, to compile what is done for each token.

    Returns:
        The token ids that were added to each prompt, up to and with the one that ends the answer.
    """
    padding, ending = find_padding_id(base), find_ending_ids(base)
    output = base.model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        pad_token_id=padding,
        eos_token_id=ending or None,
        # What a model's configuration prefers is left out: one answer to each prompt, token by token.
        num_beams=1,
        num_return_sequences=1,
        do_sample=temperature > 0,
        temperature=temperature if temperature > 0 else None,
        top_p=top_p if temperature > 0 else None,
        # 0 looks at all tokens; transformers' own default is the best 50.
        top_k=0 if temperature > 0 else None,
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
