"""Loading a base model: by hub id, from a local folder, or the embedded one."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorary.errors import BaseModelError
from lorary.experts.base_identity import find_path_commit
from lorary.experts.card import CAUSAL, SEQ_2_SEQ
from lorary.files import escape, quote
from lorary.models import embedded
from lorary.models.architecture import is_encoder_decoder
from lorary.models.base_folder import check_base_folder, is_panic
from lorary.models.device import choose_device
from lorary.models.fingerprint import fingerprint_kept, fingerprint_model
from lorary.models.hub import locate_hub_model
from lorary.models.loading import LoadPlan, load_embedded, load_files, name_quantization
from lorary.models.quantized.configs import QuantizationLike, make_quantization
from lorary.models.tokenizer import find_tokenizer
from lorary.models.usable import check_usable


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A loaded base model with its identity."""

    model: PreTrainedModel
    """The ``transformers`` model, unchanged."""
    given_tokenizer: PreTrainedTokenizerBase | None
    """The tokenizer that was passed with it; None: it is searched for when text is first needed."""
    name: str
    """The name it was loaded by: hub id, folder, or ``smollm2-135m``."""
    revision: str | None
    """The hub's commit; None if it is not known."""
    fingerprint: str
    """Hash of weights and settings, see ``fingerprint_model``."""
    asked_revision: str | None = None
    """The requested commit, branch or tag; None if it is not from a hub."""
    kept: str | None = None
    """Hash of the weights that quantisation keeps, see ``fingerprint_kept``."""
    quantization: str | None = None
    """The name of the quantisation with which it was loaded, or ``"own"`` for a configuration; None for none,
    also if its files are quantised."""

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt and a decoder writes the answer, as in T5."""
        return is_encoder_decoder(self.model)

    @property
    def task_type(self) -> str:
        """PEFT's task type of its experts, see ``ExpertCard.task_type``."""
        return SEQ_2_SEQ if self.is_encoder_decoder else CAUSAL

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer, see ``find_tokenizer``.

        Raises:
            BaseModelError: if none was passed and none is on this machine.
        """
        return find_tokenizer(self.model) if self.given_tokenizer is None else self.given_tokenizer

    @property
    def known_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer that was passed, or found when text was needed; None if there is none so far."""
        return vars(self).get("tokenizer", self.given_tokenizer)


def load_base(
    name: str = embedded.NAME,
    *,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    quantization: QuantizationLike | None = None,
) -> BaseModel:
    """Load a language model with its tokenizer, in evaluation mode: causal, or an encoder with a decoder.

    Code that comes with a model is never run. Weights are read from safetensors only, because a pickle can
    run code when it is opened.

    Args:
        name: ``"smollm2-135m"`` (embedded), a local folder, or a hub id.
        revision: a hub commit, branch or tag.
        dtype: of the weights; None for ``default_dtype(device)``.
        device: of the weights; None for a GPU if there is one, otherwise the CPU.
        quantization: quantises the weights of linear layers while the model is loaded: ``"4bit"`` or
            ``"8bit"`` (bitsandbytes), ``"torchao-8bit"``, or a configuration of ``transformers``. None: as
            the files are, which may be quantised.

    Returns:
        The model with its identity. Its parameters do not require gradients.

    Raises:
        ValueError: if this machine has no such device, or there is no such quantisation.
        BaseModelError: if it cannot be found, loaded or quantised, or is not a language model.
    """
    device = choose_device(device)
    plan = LoadPlan(name, revision, dtype or default_dtype(device), device, quantization)
    if quantization is not None:
        make_quantization(quantization, plan.dtype)
    source, commit, asked = name, None, None
    try:
        if name == embedded.NAME:
            loaded = load_embedded(plan)
        else:
            if Path(source).exists():
                check_base_folder(Path(source))
            else:
                asked = revision or "main"
                source, commit = locate_hub_model(source, revision)
            loaded = load_files(source, plan)
        # Messages name the model instead of the cache folder that it was read from.
        loaded.tokenizer.name_or_path = name
        base = wrap_base(
            loaded.model, loaded.tokenizer, name=name, source_fingerprint=loaded.source_fingerprint
        )
    except BaseModelError:
        raise
    except PermissionError as error:
        raise BaseModelError(f"base model {quote(name)} cannot be read: {error}") from error
    # On damaged or unusual files, transformers raises errors of many types.
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            raise BaseModelError(_explain_failure(name, error)) from error
        raise
    # A folder has no commit.
    return replace(
        base,
        revision=commit or base.revision,
        asked_revision=asked,
        quantization=None if quantization is None else name_quantization(quantization),
    )


def wrap_base(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    name: str | None = None,
    source_fingerprint: str | None = None,
) -> BaseModel:
    """Make a base model from a loaded ``transformers`` model; its parameters are frozen.

    Args:
        model: a plain ``transformers`` language model.
        tokenizer: its tokenizer. None: it is searched for by the model's ``name_or_path`` when text is first
            needed; logits and token ids do not need it.
        name: the base model's name; None for the name that the model was loaded by.
        source_fingerprint: of a model that was quantised while it was loaded: the fingerprint that it would
            have without; None if it is not known.

    Raises:
        BaseModelError: if it is not a plain model, or its weights are not in memory.
    """
    check_usable(model)
    model.eval().requires_grad_(False)
    name = name or model.config.name_or_path or model.config.model_type
    revision = getattr(model.config, "_commit_hash", None) or find_path_commit(name)
    fingerprint = fingerprint_model(model, source_fingerprint)
    return BaseModel(model, tokenizer, name, revision, fingerprint, kept=fingerprint_kept(model))


def default_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 for devices that compute it fast, otherwise float32."""
    if device.type == "cpu":
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16


def _explain_failure(name: str, error: BaseException) -> str:
    try:
        is_here = Path(name).exists()
    except (OSError, ValueError):
        is_here = False
    if is_here:
        found = f"the folder {quote(name)} has no language model that transformers can load"
    else:
        found = (
            f"no base model {quote(name)}: it is neither a local folder nor a model that this machine can "
            "fetch from the hub"
        )
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{found}. The embedded base model is {embedded.NAME!r}. ({escape(reason, longest=400)})"
