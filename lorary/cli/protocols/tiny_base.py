"""Create a random base model of an architecture, with a byte tokenizer."""

import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from lorary.cli.protocols.tiny_kinds import KINDS
from lorary.models.quiet import without_progress_bars

PIECES = ["<pad>", "</s>", "<s>"]
SEED = 0


def make_tiny_base(kind: str, folder: Path) -> None:
    """Write a random model and its tokenizer to a folder, completely or not at all, unless they exist."""
    if folder.exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    config = AutoConfig.for_model(kind, **KINDS[kind])
    is_encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model: Any = (AutoModelForSeq2SeqLM if is_encoder_decoder else AutoModelForCausalLM).from_config(
            config
        )
    with without_progress_bars():
        model.save_pretrained(part)
    _build_tokenizer(is_encoder_decoder).save_pretrained(part)
    part.rename(folder)


def _build_tokenizer(ends_texts: bool) -> PreTrainedTokenizerFast:
    pieces = [*PIECES, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    if ends_texts:
        core.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="<pad>")
