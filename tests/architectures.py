"""Every causal language model that ``transformers`` maps, as a tiny configuration.

A new model type is built from ``SMALL`` alone, which has the usual names of sizes. Where that does not do, it
gets a line in ``CHANGES``; what cannot be built here gets one in ``NOT_BUILT``, with the reason.
"""

import dataclasses

from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

MODEL_TYPES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

SMALL = {
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "is_decoder": True,
    # Widths.
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "dim", "hidden_dim", "emb_dim", "word_embed_proj_dim"), 32
    ),
    **dict.fromkeys(
        ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "encoder_ffn_dim", "decoder_ffn_dim"),
        48,
    ),
    **dict.fromkeys(
        ("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 16
    ),
    # Depths.
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "num_encoder_layers"), 1),
    # Heads.
    **dict.fromkeys(
        (
            "num_attention_heads",
            "n_head",
            "n_heads",
            "decoder_attention_heads",
            "encoder_attention_heads",
            "mamba_n_heads",
            "mamba_num_heads",
        ),
        4,
    ),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(
        ("head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank"), 8
    ),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_head_dim"), 8),
    "mamba_d_head": 16,
    # States.
    **dict.fromkeys(("state_size", "ssm_state_size", "mamba_d_state", "time_step_rank", "mamba_dt_rank"), 4),
    # Mixtures of experts.
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_experts_per_tok": 2,
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "n_group", "topk_group"), 1),
    "n_positions": 64,
    "n_ctx": 64,
}
LATENT = {"num_key_value_heads": 4}  # keys and values are compressed together, for all heads
VISION = {"depth": 1, "num_heads": 4, "image_size": 16, "patch_size": 8, "out_hidden_size": 32}

CHANGES = {
    "axk1": LATENT,
    "axk2": LATENT,
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "deepseek_v32": LATENT,
    "glm4_moe_lite": LATENT,
    "glm_moe_dsa": LATENT,
    "minicpm3": LATENT,
    "youtu": LATENT,
    "longcat_flash": {
        **LATENT,
        "num_layers": 1,
        "moe_topk": 2,
        "zero_expert_num": 2,
        "expert_ffn_hidden_size": 16,
    },
    "codegen": {"rotary_dim": 4},
    "gptj": {"rotary_dim": 4},
    "bamba": {"mamba_chunk_size": 8, "attn_layer_indices": [1]},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_head": 16, "mamba_chunk_size": 8},
    "granitemoehybrid": {"mamba_chunk_size": 8, "layer_types": ["linear_attention", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "nemotron_h": {
        "num_hidden_layers": None,
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "n_groups": 2,
        "chunk_size": 8,
        "moe_shared_expert_intermediate_size": 16,
    },
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "recurrent_gemma": {
        "num_hidden_layers": 3,
        "lru_width": 32,
        "num_key_value_heads": 2,
        "attention_window_size": 64,
    },
    "zamba": {
        "num_hidden_layers": 3,
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"],
        "num_key_value_heads": 4,
        "n_mamba_heads": 4,
        "mamba_headdim": 16,
        "chunk_size": 8,
        "adapter_rank": 4,
        "use_mamba_kernels": False,
    },
    "reformer": {
        "is_decoder": True,
        "axial_pos_embds": False,
        "feed_forward_size": 48,
        "attention_head_size": 8,
        "attn_layers": ["local", "local"],
        "num_hidden_layers": None,
    },
    "xmod": {"default_language": "en_XX"},
    "xlnet": {"max_position_embeddings": None, "d_inner": 48, "d_head": 8, "attn_type": "uni"},
    "xlstm": {"v_head_dim": None, "num_heads": 4},
    "falcon": {"head_dim": None},
    "prophetnet": {
        "num_hidden_layers": None,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
        "is_decoder": True,
    },
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 96,
        "shape_embed_dim": 8,
        "shape_vocab_size": 96,
    },
    "kimi_linear": {
        "num_key_value_heads": 4,
        "linear_num_heads": 2,
        "linear_head_dim": 8,
        "model_max_length": 64,
        "num_experts_per_token": 2,
    },
    "bailing_hybrid": {
        "num_key_value_heads": 4,
        "linear_num_heads": 2,
        "linear_head_dim": 8,
        "model_max_length": 64,
        "num_experts_per_token": 2,
        "num_expert_group": 1,
        "topk_group": 1,
    },
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "blt": {"encoder_hash_byte_group_vocab": 50},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 96,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0, 0.0],
        "intermediate_size": [48, 48],
    },
    "gemma4_text": {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 96},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "moshi": {"audio_vocab_size": 96},
    "dots3_note_text": {"per_layer_config": {}},
    "xlm": {"causal": True},
    "cpmant": {"dim_head": 8, "dim_ff": 48, "max_position_embeddings": None},
}
_SUB = "transformers itself cannot build it from the configuration that it maps"
NOT_BUILT = {
    "blt": "its patches need an entropy model of fixed widths",
    "dots3_note": "its sizes differ from layer to layer, and each must fit the others",
    "dots3_note_text": "its sizes differ from layer to layer, and each must fit the others",
    "gemma3n": "its vision tower needs the package timm",
    "gemma4_assistant": "it reads the states of another model",
    "gemma4_unified_assistant": "it reads the states of another model",
    "musicgen": _SUB,
    "musicgen_melody": _SUB,
}
# Lists with one entry per layer: a tiny model has one layer of each kind.
_PER_LAYER = ("layer_types", "mlp_layer_types")


def tiny_config(model_type):
    """Make a small configuration of a model type, whose weights are large enough to matter."""
    return CONFIG_MAPPING[model_type](**_find_values(CONFIG_MAPPING[model_type], CHANGES.get(model_type, {})))


def _find_values(config_class, changes):
    default = config_class()
    fields = {field.name for field in dataclasses.fields(config_class)}
    values = {
        name: value for name, value in SMALL.items() if name.endswith("token_id") or _is_number(default, name)
    }
    kinds = {
        name: list(dict.fromkeys(found))
        for name in _PER_LAYER
        if name in fields and (found := getattr(default, name, None))
    }
    if kinds:
        values["num_hidden_layers"] = max(2, *map(len, kinds.values()))
        for name, each in kinds.items():
            values[name] = [each[layer % len(each)] for layer in range(values["num_hidden_layers"])]
    for name in getattr(config_class, "sub_configs", None) or {}:
        part = getattr(default, name, None)
        if part is not None:
            own = CHANGES.get(part.model_type, VISION if "vision" in name else {})
            values[name] = {"model_type": part.model_type, **_find_values(type(part), own)}
    values.update(changes)
    return {name: value for name, value in values.items() if value is not None}


def _is_number(config, name):
    try:
        return not isinstance(getattr(config, name), list | tuple | dict)
    except Exception:  # transformers has an error of its own for sizes that differ from layer to layer
        return False
