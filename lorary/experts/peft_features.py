"""Which PEFT features an expert cannot hold exactly, found in a configuration and in tensor names.

An expert is one fixed weight change ``b @ a`` per linear layer; what else PEFT 0.21 can express is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.copied_weights import find_copied
from lorary.files import quote, say_count

UNCONVERTED = (
    "PEFT changed the base weights with it; convert the adapter with "
    "save_pretrained(folder, path_initial_model_for_weight_conversion=...)"
)

# Settings of LoraConfig that change the forward pass -> what to do about them.
REFUSED_SETTINGS = {
    "modules_to_save": "these modules were trained whole; merge the adapter with PEFT and use the result as "
    "a base model, or train without it",
    "use_dora": "train with use_dora=False",
    "lora_bias": "train with lora_bias=False",
    "target_parameters": "target linear modules instead",
    "trainable_token_indices": "train without new tokens",
    "megatron_config": "export to a plain transformers model",
    "layer_replication": "train on a base model saved with the repeated layers",
    "alora_invocation_tokens": "train a plain LoRA, active on all tokens",
    "use_qalora": "train with use_qalora=False",
    "use_bdlora": "train without block-diagonal factors",
    "monteclora_config": "train a plain LoRA",
    "arrow_config": "read the single adapters it routes between",
    "kasa_config": "train a plain LoRA",
}

# Settings without influence on a trained adapter's forward pass, or understood by the reader.
ACCEPTED_SETTINGS = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
        "velora_config",
    }
)

# Initialisations that leave the base weights alone.
PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")

# Tensor names, the setting that makes them, what they are, what to do about them. The first match counts.
REFUSED_TENSORS = (
    (r"\.lora_magnitude_vector(\.weight)?$", "use_dora", "DoRA magnitudes", "train with use_dora=False"),
    (r"\.lora_embedding_[AB]$", None, "LoRA on embeddings", "target linear modules only"),
    (r"\.lora_B\.bias$", "lora_bias", "biases in lora_B", "train with lora_bias=False"),
    (r"\.trainable_tokens_\w+", "trainable_token_indices", "trained tokens", "train without new tokens"),
    (r"^(?!.*\.lora_).*\.bias$", "bias", "biases", "train with bias='none'"),
    (
        r"^(?!.*\.lora_).*\.weight$",
        "modules_to_save",
        "whole weights that were trained",
        "train without modules_to_save, or merge the adapter and use the result as a base model",
    ),
)

# Task types whose models end in a head of their own, which PEFT trains and saves whole.
CLASSIFIERS = {
    "SEQ_CLS": "a sequence classifier",
    "TOKEN_CLS": "a token classifier",
    "QUESTION_ANS": "an extractive question answerer, which classifies tokens,",
}

MOST_NAMED = 8  # features in one message
FACTOR_ENDS = (".lora_A.weight", ".lora_B.weight")


def check_peft_type(config: Mapping[str, Any], path: str) -> None:
    """Refuse a configuration that is not a LoRA's.

    Args:
        config: the object of ``adapter_config.json``.
        path: the file it came from, for messages.

    Raises:
        FormatError: if it does not say what it is.
        UnsupportedAdapter: if it is of another type.
    """
    kind = config.get("peft_type")
    if kind is None:
        raise FormatError(
            f"{quote(path)} must name a peft_type, found none: it is not a PEFT adapter's configuration"
        )
    if kind != "LORA":
        advice = (
            "read its skills and tasks with read_poly"
            if kind == "POLY"
            else "only LoRA adapters can be experts, train a LoRA instead"
        )
        raise UnsupportedAdapter(
            f"{quote(path)} must be of peft_type 'LORA', found {quote(kind, 60)}: {advice}"
        )


def check_features(config: Mapping[str, Any], tensor_names: Iterable[str], path: str) -> None:
    """Refuse an adapter with a feature an expert cannot hold.

    Args:
        config: the object of ``adapter_config.json``.
        tensor_names: all names in ``adapter_model.safetensors``.
        path: the adapter's folder, for messages.

    Raises:
        UnsupportedAdapter: naming all such features at once, and what to do about each.
    """
    _refuse_classifier(config, path)
    # Their number is bounded before they are worded: a file can name a million unknown settings.
    names = list(tensor_names)
    features = chain(_find_in_config(config, names), _find_in_tensors(names, config))
    found = list(islice(features, MOST_NAMED + 1))
    if found:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} has what an expert, one change b @ a per linear layer, cannot hold: "
            + "; ".join(f"{feature}: {advice}" for feature, advice in found[:MOST_NAMED])
            + ("; and more" if len(found) > MOST_NAMED else "")
        )


def _refuse_classifier(config: Mapping[str, Any], path: str) -> None:
    kind = config.get("task_type")
    name = CLASSIFIERS.get(kind) if isinstance(kind, str) else None
    if name is not None:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} is {name} (task_type {kind!r}): a head was trained with it, which an "
            "expert, one change b @ a per linear layer of a language model, cannot hold: use it with PEFT"
        )


def _find_in_config(config: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if key == "modules_to_save" and _are_copied(value, names):
            continue  # held against the base model's when it is met: they may be what they were
        if key in REFUSED_SETTINGS and value:
            yield f"{key}={quote(value, 60)}", REFUSED_SETTINGS[key]
        elif key == "bias" and value not in ("none", None):
            yield f"bias={quote(value, 60)}", "train with bias='none'"
        elif key == "init_lora_weights" and not _is_plain_init(value):
            yield f"init_lora_weights={quote(value, 60)}", UNCONVERTED
        elif key not in KNOWN_SETTINGS and value:
            name = quote(key, 60)[1:-1]
            yield (
                f"unknown setting {name}={quote(value, 60)}",
                "if it changes no result, remove it from the file",
            )


def _are_copied(modules: Any, names: Sequence[str]) -> bool:
    """Tell whether each of the modules to save is an embedding or output layer that the file has."""
    if not isinstance(modules, list) or len(modules) > MOST_NAMED:
        return False
    found = [path.removesuffix(".weight") for name in names if (path := find_copied(name)) is not None]
    return all(
        isinstance(module, str) and any(f".{path}".endswith(f".{module}") for path in found)
        for module in modules
    )


def _find_in_tensors(names: Iterable[str], config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if name.endswith(FACTOR_ENDS) and ".trainable_tokens_" not in name:
            continue  # nearly all names, and none of the patterns below
        if find_copied(name) is not None:
            continue  # held against the base model's when it is met
        for pattern, setting, feature, advice in REFUSED_TENSORS:
            if re.search(pattern, name):
                if setting is None or config.get(setting) in (None, False, "none"):
                    found.setdefault((feature, advice), []).append(name)
                break
    for (feature, advice), group in found.items():
        yield f"{feature} ({say_count(len(group), 'tensor')} such as {quote(group[0], 100)})", advice


def _is_plain_init(value: Any) -> bool:
    return (value.lower() if isinstance(value, str) else value) in PLAIN_INITS


KNOWN_SETTINGS = ACCEPTED_SETTINGS | REFUSED_SETTINGS.keys() | {"bias", "init_lora_weights"}
