"""Refusing adapters with PEFT features that an expert cannot represent exactly.

An expert is one fixed weight change ``b @ a`` per linear layer. Other features of PEFT 0.21 are detected in
the configuration and in tensor names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.copied_weights import find_copied
from lorary.files import quote, say_count

UNCONVERTED = (
    "PEFT changes the base weights with it; convert the adapter with "
    "save_pretrained(folder, path_initial_model_for_weight_conversion=...)"
)

# Settings of LoraConfig that change the forward pass -> advice.
REFUSED_SETTINGS = {
    "modules_to_save": "all weights of these modules were trained; merge the adapter with PEFT and use the "
    "result as a base model, or train without it",
    "use_dora": "train with use_dora=False",
    "lora_bias": "train with lora_bias=False",
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

# Settings without effect on a trained adapter's forward pass, and settings that the reader supports.
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
        "target_parameters",
        "task_type",
        "use_rslora",
        "velora_config",
    }
)

# Initializations that do not change the base weights.
PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")

# Pattern of tensor names, setting that creates them, feature, advice. The first match is used.
REFUSED_TENSORS = (
    (r"\.lora_magnitude_vector(\.weight)?$", "use_dora", "DoRA magnitudes", "train with use_dora=False"),
    (r"\.lora_embedding_[AB]$", None, "LoRA on embeddings", "target linear modules only"),
    (r"\.lora_B\.bias$", "lora_bias", "biases in lora_B", "train with lora_bias=False"),
    (r"\.trainable_tokens_\w+", "trainable_token_indices", "trained tokens", "train without new tokens"),
    (r"^(?!.*\.lora_).*\.bias$", "bias", "biases", "train with bias='none'"),
    (
        r"^(?!.*\.lora_).*\.weight$",
        "modules_to_save",
        "trained weights of whole modules",
        "train without modules_to_save, or merge the adapter and use the result as a base model",
    ),
)

# Task types of models with an additional head, of which PEFT trains and saves all weights.
CLASSIFIERS = {
    "SEQ_CLS": "a sequence classifier",
    "TOKEN_CLS": "a token classifier",
    "QUESTION_ANS": "an extractive question answering model",
}

MOST_NAMED = 8  # features in one message
FACTOR_ENDS = (".lora_A.weight", ".lora_B.weight")


def check_peft_type(config: Mapping[str, Any], path: str) -> None:
    """Check that a configuration is that of a LoRA.

    Args:
        config: the object of ``adapter_config.json``.
        path: path of its file, for messages.

    Raises:
        FormatError: if it has no ``peft_type``.
        UnsupportedAdapter: if it has another type.
    """
    kind = config.get("peft_type")
    if kind is None:
        raise FormatError(
            f"{quote(path)} must have a peft_type, found none: it is not the configuration of a PEFT adapter"
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
    """Refuse an adapter with features that an expert cannot represent.

    Args:
        config: the object of ``adapter_config.json``.
        tensor_names: all names in ``adapter_model.safetensors``.
        path: the adapter's folder, for messages.

    Raises:
        UnsupportedAdapter: with all such features (at most eight), and advice for each.
    """
    _refuse_classifier(config, path)
    # Limits the work: a file can have a million unknown settings.
    names = list(tensor_names)
    features = chain(_find_in_config(config, names), _find_in_tensors(names, config))
    found = list(islice(features, MOST_NAMED + 1))
    if found:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} must be one weight change b @ a per linear layer, found "
            + "; ".join(f"{feature}: {advice}" for feature, advice in found[:MOST_NAMED])
            + ("; and more" if len(found) > MOST_NAMED else "")
        )


def _refuse_classifier(config: Mapping[str, Any], path: str) -> None:
    kind = config.get("task_type")
    name = CLASSIFIERS.get(kind) if isinstance(kind, str) else None
    if name is not None:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} must be one weight change b @ a per linear layer of a language model, "
            f"found {name} with a trained head (task_type {kind!r}): use it with PEFT"
        )


def _find_in_config(config: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if key == "modules_to_save" and _are_copied(value, names):
            continue  # compared with the base model when the expert is attached; they may be unchanged
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
                "remove it from the file if it has no effect on results",
            )


def _are_copied(modules: Any, names: Sequence[str]) -> bool:
    """Return whether each module to save is an embedding or output layer whose copy is in the file."""
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
            continue  # nearly all names; none of the patterns matches them
        if find_copied(name) is not None:
            continue  # compared with the base model when the expert is attached
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
