"""The weights of a model, read one tensor at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from lorary.errors import BaseModelError, FormatError
from lorary.files import escape, quote
from lorary.models import embedded
from lorary.models.base import load_base
from lorary.models.base_folder import check_base_folder
from lorary.models.hub import locate_hub_model
from lorary.models.quantized.source_fingerprint import fingerprint_places
from lorary.models.stored_parameters import StoredParameter, make_skeleton, place_parameters

FILES = ["*.safetensors", "*.json"]


class ModelWeights(NamedTuple):
    """A model whose weights are read one by one."""

    name: str
    """The name by which it was opened."""
    revision: str | None
    """The commit on the hub; None if it is not known."""
    fingerprint: str
    """See ``fingerprint_model``."""
    skeleton: PreTrainedModel
    """The model without values, on the device ``meta``."""
    read: Callable[[str], Tensor]
    """Reads a parameter by its name."""
    is_streamed: bool
    """Whether values are read from the files when they are needed; otherwise the whole model is in memory."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of a parameter -> its shape; shared parameters are listed once."""
        return {name: tuple(parameter.shape) for name, parameter in self.skeleton.named_parameters()}


def open_weights(name: str, revision: str | None = None) -> ModelWeights:
    """Open a model's weights.

    If ``transformers`` converts the names in the files, the whole model is loaded.

    Args:
        name: ``"smollm2-135m"`` (embedded), a local folder, or a hub id.
        revision: a hub commit, branch or tag.

    Raises:
        BaseModelError: if it cannot be found or read, or its weights are quantised.
    """
    try:
        folder, commit = _find_folder(name, revision)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if getattr(config, "quantization_config", None) is not None:
            raise BaseModelError(
                f"the weights of {quote(name)} must not be quantised, since changes of weights "
                "are differences of exact values: use the model in full precision"
            )
        skeleton = make_skeleton(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = escape(" ".join(str(error).split()), longest=300)
        raise BaseModelError(f"the model {quote(name)} cannot be opened: {reason}") from error
    try:
        places = place_parameters(folder, skeleton)
        fingerprint = fingerprint_places(places, config)
    except (OSError, ValueError, KeyError, TypeError, FormatError, SafetensorError):
        return _load_whole(name, revision, skeleton)
    return ModelWeights(name, commit, fingerprint, skeleton, lambda own: _read(places[own]), True)


def _read(place: StoredParameter) -> Tensor:
    with safe_open(place.file, framework="pt") as opened:
        return opened.get_tensor(place.name)


def _find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    if name == embedded.NAME:
        return embedded.unpack_embedded(), None
    if Path(name).exists():
        check_base_folder(Path(name))
        return Path(name), None
    source, commit = locate_hub_model(name, revision)
    if commit is None:
        source = snapshot_download(source, revision=revision, allow_patterns=FILES)
    return Path(source), Path(source).name


def _load_whole(name: str, revision: str | None, skeleton: PreTrainedModel) -> ModelWeights:
    base = load_base(name, revision=revision, dtype=torch.float32, device="cpu")
    known = dict(base.model.named_parameters())
    return ModelWeights(
        name, base.revision, base.fingerprint, skeleton, lambda own: known[own].detach(), False
    )
