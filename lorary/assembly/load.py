"""From names to a ready model."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorary.assembly.routed_model import RoutedModel
from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.library import Library
from lorary.models import COMBINES, BaseModel, attach_experts, check_base, load_base, wrap_base
from lorary.routing import ArrowConfig, router_named
from lorary.routing.arrow import InputNorm
from lorary.routing.top_k import check_top_k


def load_model(
    base: str | PreTrainedModel | BaseModel,
    experts: str | Mapping[str, Expert],
    *,
    router: str | None = "arrow",
    top_k: int | None = None,
    temperature: float = 1.0,
    input_norm: InputNorm = "none",
    weigh_by_gain: bool = False,
    combine: str = "outputs",
    controls: Mapping[str, Expert] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> RoutedModel:
    """Put a library's experts on their base model and a router in charge.

    Args:
        base: hub id, folder, ``"smollm2-135m"`` (embedded), or a model that is loaded already.
        experts: a library, any other mapping name -> expert, or a library's URL.
        router: a key of ``ROUTERS``; None lets the base answer alone until ``assign`` or ``set_router``.
        top_k: experts kept per token and layer; None means 4, or all if there are fewer.
        temperature: of the softmax over the kept experts' scores.
        input_norm: what inputs are divided by before Arrow scores them: ``"none"``, ``"unit"`` or ``"rms"``.
        weigh_by_gain: multiply Arrow's scores by how much each expert amplifies its prototype.
        combine: ``"outputs"`` or ``"factors"``, see ``mix``.
        controls: further experts that no router chooses, but that ``assign`` knows by these names.
        tokenizer: only for a ``transformers`` model that is loaded already.
        revision: of a hub model.
        dtype: of the base model's weights; None chooses what the hardware multiplies fast.
        device: None means a GPU if there is one.

    Returns:
        The model; it owns the base model until ``detach``.

    Raises:
        ValueError: for an unknown router, or options out of range.
        LibraryError: if there is no expert.
        IncompatibleExpert: if an expert was trained on another base model.
        BaseModelError: if the base model cannot be loaded.
    """
    if router is not None:
        router_named(router)
    if combine not in COMBINES:
        raise ValueError(f"combine must be one of {COMBINES}, not {combine!r}")
    library = Library.open(experts) if isinstance(experts, str) else experts
    everyone = _gather_experts(library, controls or {})
    kept = min(ArrowConfig().top_k, len(library)) if top_k is None else top_k
    options = ArrowConfig(
        top_k=kept, temperature=temperature, input_norm=input_norm, weigh_by_gain=weigh_by_gain
    )
    if router == "arrow":
        check_top_k(kept, len(library))
    loaded = _load_any_base(base, tokenizer, revision, dtype, device)
    for expert in everyone.values():
        check_base(loaded, expert)
    model = RoutedModel(loaded, attach_experts(loaded.model, everyone), library)
    try:
        model.set_router(router, options if router == "arrow" else None, combine)
    except BaseException:
        model.detach()
        raise
    return model


def _gather_experts(library: Mapping[str, Expert], controls: Mapping[str, Expert]) -> dict[str, Expert]:
    if len(library) == 0:
        where = f"library {library.url!r}" if isinstance(library, Library) else "the given mapping"
        raise LibraryError(f"{where} holds no experts: train some, or add one with `lorary library add`")
    taken = sorted(set(controls) & set(library))
    if taken:
        raise ValueError(
            f"a control must have a name of its own, but {taken[0]!r} is an expert too: name it otherwise"
        )
    return {**dict(library.items()), **controls}


def _load_any_base(
    base: str | PreTrainedModel | BaseModel,
    tokenizer: PreTrainedTokenizerBase | None,
    revision: str | None,
    dtype: torch.dtype | None,
    device: str | torch.device | None,
) -> BaseModel:
    if isinstance(base, BaseModel):
        return base
    if isinstance(base, str):
        return load_base(base, revision=revision, dtype=dtype, device=device)
    if tokenizer is None:
        raise ValueError("a model that is loaded already needs its tokenizer: give tokenizer=...")
    return wrap_base(base, tokenizer)
