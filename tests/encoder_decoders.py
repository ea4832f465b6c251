"""Tiny base models with an encoder and a decoder, whose tokens are bytes."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from lorary.models import wrap_base

PIECES = ["<pad>", "</s>", "<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
WIDTHS = {"vocab_size": len(PIECES), "d_model": 16}
T5 = {**WIDTHS, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
BART = {
    **WIDTHS,
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 24),
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "decoder_start_token_id": 1,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 96,
    "init_std": 0.3,
    "forced_eos_token_id": None,
}
KINDS = {
    "t5": ("t5", T5),
    # As FLAN-T5: gated layers, and an output layer with weights of its own.
    "flan-t5": ("t5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "bart": ("bart", BART),
}
# What each kind's tokenizer puts around a text.
FORMS = {"t5": "$A </s>", "flan-t5": "$A </s>", "bart": "<s> $A </s>"}


def build_tokenizer(kind="t5"):
    core = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(PIECES)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = TemplateProcessing(single=FORMS[kind], special_tokens=[("</s>", 1), ("<s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="</s>",
        pad_token="<pad>",
        bos_token="<s>" if kind == "bart" else None,
    )


def build_model(kind="t5", seed=0, **changes):
    """Build a seeded model, with weights large enough to matter."""
    model_type, sizes = KINDS[kind]
    torch.manual_seed(seed)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(model_type, **{**sizes, **changes}))
    if kind == "flan-t5":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    if model_type == "t5":
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "shared" not in name:
                torch.nn.init.normal_(weight, std=0.3)
    return model.eval().requires_grad_(False)


def build_base(kind="t5", seed=0, **changes):
    return wrap_base(build_model(kind, seed, **changes), build_tokenizer(kind), name=f"tiny-{kind}")


def draw_batch(seed=3, num_rows=3, num_prompt=7, num_answer=4):
    """Draw prompts of several lengths, padded on the right, and what the decoder reads."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, len(PIECES), (num_rows, num_prompt), generator=generator)
    lengths = torch.tensor([num_prompt - 2 * (row % 3) for row in range(num_rows)])
    mask = (torch.arange(num_prompt) < lengths[:, None]).long()
    answers = torch.randint(3, len(PIECES), (num_rows, num_answer), generator=generator)
    return {
        "input_ids": ids.masked_fill(mask == 0, 0),
        "attention_mask": mask,
        "decoder_input_ids": answers,
    }
