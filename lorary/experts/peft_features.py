"""Refusing adapters with PEFT features that an expert cannot represent exactly.

An expert is one fixed change of each module: low-rank factors and parts, see ``lorary.experts.parts``. Other
features of PEFT 0.21 are detected in the configuration.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.card import SEQ_2_SEQ
from lorary.experts.parts.soft_prompt import SoftPromptPart
from lorary.experts.parts.table import KINDS
from lorary.files import quote

UNCONVERTED = (
    "PEFT changes the base weights with it; convert the adapter with "
    "save_pretrained(folder, path_initial_model_for_weight_conversion=...)"
)

# Settings of LoraConfig that change the forward pass in ways that an expert cannot represent -> advice.
REFUSED_SETTINGS = {
    "megatron_config": "export to a plain transformers model",
    "layer_replication": "train on a base model saved with the repeated layers",
    "alora_invocation_tokens": "train a plain LoRA, active on all tokens",
    "use_qalora": "train with use_qalora=False",
    "use_bdlora": "train without block-diagonal factors",
    "monteclora_config": "train a plain LoRA",
    "arrow_config": "read the single adapters it routes between",
    "kasa_config": "train a plain LoRA",
}

# Settings of all types without effect on a trained adapter's forward pass, or that the reader supports.
_COMMON = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "revision",
        "target_modules",
        "task_type",
    }
)
_VIRTUAL = frozenset(
    {"num_attention_heads", "num_layers", "num_transformer_submodules", "num_virtual_tokens", "token_dim"}
)
ACCEPTED_SETTINGS: Mapping[str, frozenset[str]] = {
    "LORA": _COMMON
    | {
        "alpha_pattern",
        "bias",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "fan_in_fan_out",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_bias",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "runtime_config",
        "target_parameters",
        "trainable_token_indices",
        "use_dora",
        "use_rslora",
        "velora_config",
    },
    "IA3": _COMMON | {"fan_in_fan_out", "feedforward_modules", "init_ia3_weights"},
    "SHIRA": _COMMON | {"fan_in_fan_out", "init_weights", "mask_type", "r", "random_seed"},
    "PROMPT_TUNING": _COMMON
    | _VIRTUAL
    | {
        "prompt_tuning_init",
        "prompt_tuning_init_text",
        "tokenizer_kwargs",
        "tokenizer_name_or_path",
    },
    "P_TUNING": _COMMON
    | _VIRTUAL
    | {
        "encoder_dropout",
        "encoder_hidden_size",
        "encoder_num_layers",
        "encoder_reparameterization_type",
    },
    "PREFIX_TUNING": _COMMON | _VIRTUAL | {"encoder_hidden_size", "init_weights", "prefix_projection"},
    "TRAINABLE_TOKENS": _COMMON | {"init_weights", "token_indices"},
}
"""PEFT's types of adapters that can be read -> their settings."""

PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")

# Initialisations that do not change the base weights.
PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")

# Kinds of parts -> the setting that PEFT needs to use their tensors.
_SETTINGS = {
    "dora": "use_dora",
    "added bias": "lora_bias",
}

# Task types of models with an additional head, of which PEFT trains and saves all weights.
CLASSIFIERS = {
    "SEQ_CLS": "a sequence classifier",
    "TOKEN_CLS": "a token classifier",
    "QUESTION_ANS": "an extractive question answering model",
}

MOST_NAMED = 8  # features in one message


def check_peft_type(config: Mapping[str, Any], path: str) -> None:
    """Check that a configuration is of a type that can be read.

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
    if not isinstance(kind, str) or kind not in ACCEPTED_SETTINGS:
        advice = (
            "read its skills and tasks with read_poly"
            if kind == "POLY"
            else "merge it into its base model with PEFT and make an expert of the result with lorary "
            "extract, or train one of these"
        )
        raise UnsupportedAdapter(
            f"{quote(path)} must be of peft_type {', '.join(ACCEPTED_SETTINGS)}, found {quote(kind, 60)}: "
            f"{advice}"
        )


def check_features(config: Mapping[str, Any], kinds: Collection[str], path: str) -> None:
    """Refuse an adapter with features that an expert cannot represent.

    Args:
        config: the object of ``adapter_config.json``.
        kinds: kinds of the parts in ``adapter_model.safetensors``, without low-rank factors.
        path: the adapter's folder, for messages.

    Raises:
        UnsupportedAdapter: with all such features (at most eight), and advice for each.
    """
    _refuse_classifier(config, path)
    if config.get("peft_type") in PROMPTS and config.get("task_type") == SEQ_2_SEQ:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} is a soft prompt for a model with an encoder and a decoder (task_type "
            f"{SEQ_2_SEQ!r}), which cannot have one here: use it with PEFT, or train a LoRA"
        )
    # Limits the work: a file can have a million unknown settings.
    features = chain(_find_in_config(config), _find_contradictions(config, kinds))
    found = list(islice(features, MOST_NAMED + 1))
    if found:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} must be a fixed change of each module, found "
            + "; ".join(f"{feature}: {advice}" for feature, advice in found[:MOST_NAMED])
            + ("; and more" if len(found) > MOST_NAMED else "")
        )


def guess_kinds(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the kinds of an adapter's parts by its configuration; None if it does not determine them.

    Args:
        config: the object of ``adapter_config.json``.
    """
    found = {
        "whole": config.get("modules_to_save") or config.get("bias") in ("all", "lora_only"),
        "sparse": config.get("peft_type") == "SHIRA",
        "dora": config.get("use_dora"),
        "ia3": config.get("peft_type") == "IA3",
        "added bias": config.get("lora_bias"),
        "soft prompt": config.get("peft_type") in PROMPTS,
        "tokens": config.get("trainable_token_indices") or config.get("peft_type") == "TRAINABLE_TOKENS",
    }
    kinds = tuple(kind for kind in KINDS if found.get(kind))
    return kinds if config.get("peft_type") in ACCEPTED_SETTINGS else None


def _refuse_classifier(config: Mapping[str, Any], path: str) -> None:
    kind = config.get("task_type")
    name = CLASSIFIERS.get(kind) if isinstance(kind, str) else None
    if name is not None:
        raise UnsupportedAdapter(
            f"adapter {quote(path)} must be for a language model, "
            f"found {name} with a trained head (task_type {kind!r}): use it with PEFT"
        )


def _find_in_config(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = ACCEPTED_SETTINGS.get(config.get("peft_type", "LORA"), frozenset())
    for key, value in config.items():
        if key in REFUSED_SETTINGS and value:
            yield f"{key}={quote(value, 60)}", REFUSED_SETTINGS[key]
        elif key == "init_lora_weights" and not _is_plain_init(value):
            yield f"init_lora_weights={quote(value, 60)}", UNCONVERTED
        elif key == "bias" and value not in ("none", "all", "lora_only", None):
            yield f"bias={quote(value, 60)}", "it must be 'none', 'all' or 'lora_only'"
        elif key not in known and key not in REFUSED_SETTINGS and value:
            name = quote(key, 60)[1:-1]
            yield (
                f"unknown setting {name}={quote(value, 60)}",
                "remove it from the file if it has no effect on results",
            )


def _find_contradictions(config: Mapping[str, Any], kinds: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield settings without their tensors, and tensors that PEFT would ignore."""
    advice = "save the adapter again with PEFT"
    own = config.get("peft_type", "LORA")
    for kind in (kind for kind in KINDS if kind in kinds):
        if KINDS[kind].peft_type not in (None, own) or (kind == SoftPromptPart.kind and own not in PROMPTS):
            yield f"{KINDS[kind].title} in an adapter of peft_type {quote(own, 60)}", advice
    for kind, setting in _SETTINGS.items():
        if config.get(setting) and kind not in kinds:
            yield f"{setting}={quote(config[setting], 60)} without {KINDS[kind].title}", advice
        elif kind in kinds and not config.get(setting):
            yield f"{KINDS[kind].title} without {setting}", advice
    if config.get("trainable_token_indices") and "tokens" not in kinds:
        yield "trainable_token_indices without trained tokens", advice
    if config.get("modules_to_save") and "whole" not in kinds:
        yield f"modules_to_save={quote(config['modules_to_save'], 60)} without their weights", advice


def _is_plain_init(value: Any) -> bool:
    return (value.lower() if isinstance(value, str) else value) in PLAIN_INITS
