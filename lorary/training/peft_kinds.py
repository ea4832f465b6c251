"""The kinds of experts that PEFT's layers train by name, without the import of PEFT."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PeftKind:
    """An entry of the table."""

    summary: str
    """What is trained, in a few words, for help texts."""
    is_prompt: bool = False
    """Whether it is a soft prompt, which changes no layer."""


KINDS: Mapping[str, PeftKind] = {
    "dora": PeftKind(summary="LoRA with trained magnitudes of the weights"),
    "ia3": PeftKind(summary="a factor for each output of the layers"),
    "shira": PeftKind(summary="some entries of the layers' weights"),
    "prompt": PeftKind(summary="virtual tokens before each request, as many as the rank", is_prompt=True),
    "prefix": PeftKind(summary="keys and values of virtual tokens, as many as the rank", is_prompt=True),
}
"""Kind -> what it is; ``peft_settings`` makes their configurations."""
