"""The arguments of generation: greedy or sampled, without the preferences of a model's own configuration."""

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from lorary.files import quote

# Settings that describe the model or its cache, not the choice of tokens.
_KEPT = {
    # Said for each prompt.
    "max_new_tokens",
    *(f"{name}_token_id" for name in ("pad", "bos", "eos", "decoder_start")),
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size"),
    *("compile_config", "disable_compile", "continuous_batching_config", "low_memory"),
    # Only the answers' tokens are returned.
    *(
        "return_dict_in_generate",
        "output_scores",
        "output_logits",
        "output_attentions",
        "output_hidden_states",
    ),
    *("transformers_version", "_from_model_config", "_commit_hash"),
}
# Settings under which a token's choice depends on its scores alone.
_OF_ONE_TOKEN = {
    *("max_length", "do_sample", "num_beams", "num_return_sequences", "use_cache"),
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("renormalize_logits", "remove_invalid_values", "suppress_tokens"),
}


def check_sampling(temperature: float, config: GenerationConfig | None = None) -> None:
    """Refuse invalid settings of sampling.

    Raises:
        ValueError: with the invalid setting.
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
    """Build the keyword arguments of ``model.generate``.

    Args:
        model: the base model; the preferences of its generation configuration are reset to the defaults.
        temperature: 0 takes the most probable token.
        top_p: sample from the most probable tokens with this total probability.
        config: its settings have precedence over all others.
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
        # 0 means all tokens; the default of transformers is the 50 most probable ones.
        "top_k": 0 if samples else None,
    }
    given = {} if config is None else vars(config)
    return found | {name: value for name, value in given.items() if name in known and value is not None}


def depends_on_place(generation: Mapping[str, Any]) -> bool:
    """Tell whether the choice of a token depends on the row's other tokens or on where the answer begins.

    Examples are ``repetition_penalty`` and ``forced_eos_token_id``.

    Args:
        generation: the result of ``describe_generation``.
    """
    defaults = GenerationConfig._get_default_generation_params()
    return any(
        value is not None and value != defaults.get(name)
        for name, value in generation.items()
        if name not in _OF_ONE_TOKEN
    )
