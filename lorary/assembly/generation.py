"""How the next token is chosen: likeliest or drawn, with nothing that a model's own configuration prefers."""

from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from lorary.files import quote

# What a model is, not how it prefers to answer.
_KEPT = {
    # Said for each prompt.
    "max_new_tokens",
    *(f"{name}_token_id" for name in ("pad", "bos", "eos", "decoder_start")),
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size"),
    *("compile_config", "disable_compile", "continuous_batching_config", "low_memory"),
    *("transformers_version", "_from_model_config", "_commit_hash"),
}


def check_sampling(temperature: float, config: GenerationConfig | None = None) -> None:
    """Refuse what no answer can be drawn with.

    Raises:
        ValueError: naming what is wrong.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, found {temperature!r}")
    for name in ("num_beams", "num_return_sequences"):
        value = getattr(config, name, None)
        if value not in (None, 1):
            raise ValueError(
                f"each prompt has one answer, drawn token by token: {name} must be 1, found {quote(value)}"
            )


def describe_generation(
    model: PreTrainedModel,
    *,
    temperature: float,
    top_p: float,
    config: GenerationConfig | None,
) -> dict[str, Any]:
    """Give the keyword arguments of ``model.generate``.

    Args:
        model: the base model; what its generation configuration prefers is set back to the defaults.
        temperature: 0 always takes the likeliest token.
        top_p: sample from the likeliest tokens that hold this much probability.
        config: what it sets comes before all else.
    """
    defaults = GenerationConfig._get_default_generation_params()
    own = vars(model.generation_config)
    known = vars(GenerationConfig()).keys() - _KEPT
    found = {name: defaults.get(name) for name in own.keys() & known if own[name] is not None}
    samples = temperature > 0
    found |= {
        "max_length": None,
        "num_beams": 1,
        "num_return_sequences": 1,
        "do_sample": samples,
        "temperature": temperature if samples else None,
        "top_p": top_p if samples else None,
        # 0 looks at all tokens; transformers' own default is the best 50.
        "top_k": 0 if samples else None,
    }
    given = {} if config is None else vars(config)
    return found | {name: value for name, value in given.items() if name in known and value is not None}
