"""Loading the files of a base model with ``transformers``, quantised or unchanged."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lorary.errors import BaseModelError
from lorary.files import quote
from lorary.models import embedded
from lorary.models.quantized.configs import QuantizationLike, make_quantization, require_method
from lorary.models.quantized.packed_layers import keep_order, list_packed
from lorary.models.quantized.source_fingerprint import fingerprint_files
from lorary.models.quiet import without_cast_notes, without_progress_bars


class LoadPlan(NamedTuple):
    """The model to load and its settings; see ``load_base``."""

    name: str
    """The name, for messages."""
    revision: str | None
    """A commit, branch or tag of a hub model."""
    dtype: torch.dtype
    """Of the weights that are not quantised."""
    device: torch.device
    """Of the weights."""
    quantization: QuantizationLike | None
    """What quantises the weights; None: as the files are."""


class Loaded(NamedTuple):
    """A model that was loaded."""

    model: PreTrainedModel
    """The model, on its device."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    source_fingerprint: str | None
    """If it was quantised now: the fingerprint that it would have without; None if it is not known."""


def load_files(source: str, plan: LoadPlan) -> Loaded:
    """Load a model and its tokenizer from a folder, or from the hub; no code of it is run.

    Raises:
        BaseModelError: if it cannot be quantised in this way.
        Exception: whatever ``transformers`` raises on damaged or unusual files.
    """
    config = AutoConfig.from_pretrained(source, revision=plan.revision, trust_remote_code=False)
    quantized = _choose_quantization(config, plan)
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with without_progress_bars():
        model = loader.from_pretrained(
            source,
            revision=plan.revision,
            dtype=plan.dtype,
            use_safetensors=True,
            trust_remote_code=False,
            **quantized,
        )
    tokenizer = AutoTokenizer.from_pretrained(source, revision=plan.revision, trust_remote_code=False)
    if not quantized:
        return Loaded(model.to(plan.device), tokenizer, None)
    without_cast_notes()
    if not list_packed(model):
        raise BaseModelError(
            f"base model {quote(plan.name)} has no layer that quantization "
            f"{quote(name_quantization(plan.quantization))} changes (torchao leaves GPT-2's Conv1D as they "
            "are): load it without, or choose another"
        )
    keep_order(model)
    if plan.quantization is None:
        return Loaded(model, tokenizer, None)
    return Loaded(model, tokenizer, _fingerprint_source(source, plan.revision, config))


def _choose_quantization(config: PreTrainedConfig, plan: LoadPlan) -> dict[str, Any]:
    """Return the arguments with which a model becomes quantised, or stays so; none for a plain model."""
    own = getattr(config, "quantization_config", None)
    if own is None and plan.quantization is None:
        return {}
    if own is not None:
        method = own.get("quant_method", "") if isinstance(own, dict) else own.quant_method
        method = str(getattr(method, "value", method))
        if plan.quantization is not None:
            raise BaseModelError(
                f"base model {quote(plan.name)} is already quantised, by {quote(method, 60)}: "
                "load it without a quantization"
            )
        require_method(method, f"base model {quote(plan.name)}")
        return {"device_map": {"": plan.device}}
    assert plan.quantization is not None
    return {
        "device_map": {"": plan.device},
        "quantization_config": make_quantization(plan.quantization, plan.dtype),
    }


def name_quantization(quantization: QuantizationLike | None) -> str:
    """Return the name of a quantisation; that of a configuration is ``"own"``."""
    return quantization if isinstance(quantization, str) else "own"


def _fingerprint_source(source: str, revision: str | None, config: PreTrainedConfig) -> str | None:
    folder = source
    if not Path(source).is_dir():
        try:
            folder = snapshot_download(source, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            return None
    return fingerprint_files(folder, config)


def load_embedded(plan: LoadPlan) -> Loaded:
    """Load the embedded model."""
    plan = plan._replace(revision=None)
    try:
        return load_files(str(embedded.unpack_embedded()), plan)
    except (OSError, ValueError, SafetensorError):
        # The files that were unpacked earlier may be damaged.
        return load_files(str(embedded.unpack_embedded(again=True)), plan)
