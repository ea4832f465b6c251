"""The arguments of generation: greedy or sampled, without the preferences of a model's own configuration."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from lorary.files import quote

# Settings that describe the model or its cache, not the choice of tokens.
_KEPT = {
    # Settings of each prompt.
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


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen by its probability.

    Raises:
        ValueError: if a setting is out of range.
    """

    temperature: float = 0.0
    """0 takes the most probable token."""
    top_p: float = 1.0
    """Sample from the smallest set of most probable tokens with this total probability."""
    top_k: int = 0
    """Sample from this number of most probable tokens; 0 means all."""
    do_sample: bool | None = None
    """Whether to sample; None: if the temperature is above 0. True raises a temperature of 0 to 1."""
    seed: int | None = None
    """Seed of the sampling; None for the state of PyTorch's global generator."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be at least 0, found {self.temperature!r}")
        if not self.top_k >= 0:
            raise ValueError(f"top_k must be at least 0, found {self.top_k!r}")

    def describe(self) -> dict[str, Any]:
        """Build the keyword arguments of ``model.generate``."""
        samples = self.temperature > 0 if self.do_sample is None else self.do_sample
        return {
            "do_sample": samples,
            "temperature": (self.temperature or 1.0) if samples else None,
            "top_p": self.top_p if samples else None,
            # The default of transformers is the 50 most probable tokens.
            "top_k": self.top_k if samples else None,
        }

    @contextmanager
    def seeded(self, device: torch.device) -> Iterator[None]:
        """Sample with the seed within this context; afterwards the generators resume their previous state."""
        if self.seed is None:
            yield
            return
        with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            torch.manual_seed(self.seed)
            yield


def refuse_beams(config: GenerationConfig | None) -> None:
    """Refuse beam search, in which an answer is not generated token by token.

    Raises:
        ValueError: if there are several beams.
    """
    value = getattr(config, "num_beams", None)
    if value not in (None, 1):
        raise ValueError(
            f"an answer is generated token by token: num_beams must be 1, found {quote(value)}; give "
            "input_ids instead of prompts to search with beams"
        )


def count_answers(num_return_sequences: int, generation: Mapping[str, Any], given: int | None) -> int:
    """Return the number of answers to each prompt.

    Args:
        num_return_sequences: the number of a call.
        generation: the result of ``describe_generation``.
        given: the number in a generation configuration, which takes precedence; None if it has none.

    Raises:
        ValueError: if it is below 1, or above 1 without sampling.
    """
    number = num_return_sequences if given is None else given
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"num_return_sequences must be at least 1, found {quote(number)}")
    if number > 1 and not generation["do_sample"]:
        raise ValueError(
            f"num_return_sequences must be 1 without sampling, found {number}: add do_sample=True, or a "
            "temperature above 0"
        )
    return number


def describe_generation(
    model: PreTrainedModel,
    sampling: Sampling,
    config: GenerationConfig | None,
) -> dict[str, Any]:
    """Build the keyword arguments of ``model.generate``.

    Args:
        model: the base model; the preferences of its generation configuration are reset to the defaults.
        sampling: how tokens are chosen.
        config: its settings take precedence over all others.
    """
    defaults = GenerationConfig._get_default_generation_params()
    own = vars(model.generation_config)
    known = vars(GenerationConfig()).keys() - _KEPT
    found = {name: defaults.get(name) for name in own.keys() & known if own[name] is not None}
    found |= {
        "max_length": None,
        "num_beams": 1,
        **sampling.describe(),
    }
    given = {} if config is None else vars(config)
    found |= {name: value for name, value in given.items() if name in known and value is not None}
    # Each answer is a separate row.
    return {**found, "num_return_sequences": 1}


def depends_on_place(generation: Mapping[str, Any]) -> bool:
    """Return whether the choice of a token depends on the row's other tokens or on where the answer begins.

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
