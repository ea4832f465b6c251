"""A base model, experts and rows small enough to be read thousands of times; nothing is fetched."""

import copy
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lorary.experts import Expert, ExpertCard, Factors
from lorary.models import BaseModel, find_layers, layer_shape, wrap_base

NAMES = ("law", "poetry", "sql")


@cache
def build_base() -> BaseModel:
    """Build a one-layer Llama whose tokens are bytes."""
    pieces = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    config = LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    return wrap_base(model, PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>"), name="tiny")


def copy_base() -> BaseModel:
    """Give a base model that no earlier input can have changed."""
    return copy.deepcopy(build_base())


def draw_expert(name: str, *, seed: int = 0) -> Expert:
    """Draw an expert whose rank is its name's place, strong enough to change what the model says."""
    base = build_base()
    generator = torch.Generator().manual_seed(seed + sum(name.encode()))
    rank = 1 + NAMES.index(name) if name in NAMES else 2
    factors = {}
    for path, layer in find_layers(base.model, "all-linear").items():
        width_in, width_out = layer_shape(layer)
        a = torch.randn(rank, width_in, generator=generator) * width_in**-0.5
        factors[path] = Factors(a, torch.randn(width_out, rank, generator=generator) * 0.4)
    card = ExpertCard(
        base_fingerprint=base.fingerprint,
        tasks=(f"{name} task",),
        tags=("tiny",),
        description=f"knows {name}",
        scores={"loss": 1.25},
        provenance={"seed": seed, "data": [name]},
    )
    return Expert(name, base.name, factors, card)


def draw_experts() -> dict[str, Expert]:
    """Draw all experts."""
    return {name: draw_expert(name) for name in NAMES}
