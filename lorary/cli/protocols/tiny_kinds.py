"""Sizes of the random models for trials of protocols: about a minute on a CPU, without a network."""

from typing import Any

NUM_TOKENS = 259  # 256 bytes, the padding, and two ends of a text
_DECODER = {
    "vocab_size": NUM_TOKENS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
KINDS: dict[str, dict[str, Any]] = {
    "phi": {**_DECODER, "partial_rotary_factor": 0.5},
    "mistral": {**_DECODER, "num_key_value_heads": 1, "sliding_window": None},
    "llama": {**_DECODER, "num_key_value_heads": 1},
    "t5": {
        "vocab_size": NUM_TOKENS,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "initializer_factor": 1.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    },
}
"""Model type of ``transformers`` -> its configuration."""
