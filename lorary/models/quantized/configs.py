"""The names of quantisations, and their configurations of ``transformers``."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig
from transformers.utils.quantization_config import QuantizationConfigMixin

from lorary.errors import BaseModelError, suggest
from lorary.files import quote

QuantizationLike: TypeAlias = str | QuantizationConfigMixin
"""A name of ``QUANTIZATIONS``, or a configuration of ``transformers``."""

INSTALL = "pip install 'lorary[quantized]'"
# Method of a configuration -> the package with its layers.
PACKAGES = {"bitsandbytes": "bitsandbytes", "torchao": "torchao"}


@dataclass(frozen=True)
class Quantization:
    """A way to quantise a base model while it is loaded."""

    title: str
    """Its description, for messages."""
    method: str
    """The method's name in ``transformers``, a key of ``PACKAGES``."""
    make: Callable[[torch.dtype], QuantizationConfigMixin]
    """Dtype of the model -> the configuration."""


def _make_4bit(dtype: torch.dtype) -> QuantizationConfigMixin:
    # As in QLoRA, arXiv:2305.14314: normal floats, whose block scales are quantised too.
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _make_8bit(dtype: torch.dtype) -> QuantizationConfigMixin:
    return BitsAndBytesConfig(load_in_8bit=True)


def _make_torchao_8bit(dtype: torch.dtype) -> QuantizationConfigMixin:
    # Imported here, because the package is optional.
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


QUANTIZATIONS = {
    "4bit": Quantization("4-bit normal floats of bitsandbytes, as in QLoRA", "bitsandbytes", _make_4bit),
    "8bit": Quantization("LLM.int8() of bitsandbytes", "bitsandbytes", _make_8bit),
    "torchao-8bit": Quantization("8-bit weights of torchao", "torchao", _make_torchao_8bit),
}


def make_quantization(quantization: QuantizationLike, dtype: torch.dtype) -> QuantizationConfigMixin:
    """Return the configuration of ``transformers`` that quantises a model while it is loaded.

    Raises:
        ValueError: if there is no quantisation of that name.
        BaseModelError: if its package is not installed.
    """
    if isinstance(quantization, QuantizationConfigMixin):
        return quantization
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"there is no quantization {quote(quantization)}: {suggest(quantization, QUANTIZATIONS)}"
        )
    own = QUANTIZATIONS[quantization]
    require_method(own.method, f"quantization {quantization!r}")
    return own.make(dtype)


def require_method(method: str, wanted_by: str) -> None:
    """Check that the package of a method of quantisation is installed.

    Args:
        method: its name in ``transformers``; methods without an entry in ``PACKAGES`` are not checked.
        wanted_by: what needs it, for the message.

    Raises:
        BaseModelError: if it is not.
    """
    package = PACKAGES.get(method)
    if package is not None and find_spec(package) is None:
        raise BaseModelError(
            f"{wanted_by} needs the package {package}, which is not installed: run `{INSTALL}`"
        )
