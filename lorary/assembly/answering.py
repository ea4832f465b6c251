"""Letting a model go on from prompts.

B prompts, L their length.
"""

from collections.abc import Mapping
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
) -> list[str]:
    """Continue prompts with what the model, and whoever decides on it, has to say.

    Args:
        base: the model with its tokenizer.
        inputs: ``input_ids`` and ``attention_mask``, ``[B, L]``, padded on the left.
        max_new_tokens: most tokens to add to each.
        temperature: 0 always takes the likeliest token; above, tokens are sampled.
        top_p: sample from the likeliest tokens that hold this much probability.
        compile: whether, and how, to compile what is done for each token.

    Returns:
        What was added to each prompt, without special tokens.
    """
    output = base.model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        pad_token_id=find_padding_id(base.tokenizer),
        eos_token_id=find_ending_ids(base.model, base.tokenizer) or None,
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
    answers: list[str] = base.tokenizer.batch_decode(
        output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return answers


def _say_how_to_compile(compile: bool | CompileConfig) -> dict[str, Any]:
    if not compile:
        return {}
    config = CompileConfig() if compile is True else compile
    config._compile_all_devices = True  # else transformers compiles on GPUs only
    # Steps are alike only if the cache does not grow.
    return {"cache_implementation": "static", "compile_config": config}
