"""Tiny tokenizers and ways to write data files, shared by the room's tests."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.data.sentence_tokenizer import build_sentence_tokenizer

CHAT = (
    "{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def build_byte_tokenizer(opens_with_bos: bool = False) -> PreTrainedTokenizerFast:
    """Build a tokenizer of one token per byte, so that lengths can be counted by hand."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<bos>", "<turn>", "<end>"])
    if opens_with_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", core.token_to_id("<bos>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", eos_token="<end>")
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture
def byte_tokenizer() -> PreTrainedTokenizerFast:
    return build_byte_tokenizer()


@pytest.fixture
def bos_tokenizer() -> PreTrainedTokenizerFast:
    return build_byte_tokenizer(opens_with_bos=True)


@pytest.fixture
def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before every text, as Llama 2's does."""
    words = ["<unk>", "<end>", "▁", "▁yes", "▁no", "▁What?", "▁Answer:"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", unk_token="<unk>")


WriteRows = Callable[..., Path]


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Write rows as JSON lines under a file name and return the path."""

    def write(rows: Sequence[object], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


ADDED = (
    *("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<think>", "</think>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|assistant|>", "<|user|>", "<|end|>"),
)


@pytest.fixture
def chat_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and the tokens that chat templates write, none of them marked special."""
    tokenizer = build_byte_tokenizer()
    tokenizer.add_tokens(["\n\n", *ADDED])
    return tokenizer


@pytest.fixture
def sentence_tokenizer() -> PreTrainedTokenizerFast:
    return build_sentence_tokenizer()
