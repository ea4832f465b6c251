"""A mixture of experts of the base model, computed sub-layer by sub-layer, so that each can have experts.

T tokens, K sub-layers chosen for each token by the base model, N sub-layers, I layer input, O layer output.
"""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts.stacked_parameters import Entry, read_entry
from lorary.models.routing_context import Call, RoutingContext
from lorary.models.stacked_layers import StackedLayer, stacked_shape

# What transformers' use_experts_implementation gives each class of mixtures, and every back end relies on.
_CONTRACT = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "_apply_gate", "num_experts")
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}


class Mixture(nn.Module):
    """A mixture of experts whose sub-layers are modules, named as ``gate_up_proj[3]``.

    Without a chooser the base model's own module computes the output. Otherwise each sub-layer that the base
    model chose for a token runs as a separate layer, which may be an ``ExpertLinear``. The weights are not
    copied, and no weight change is formed.

    Args:
        base: the module with the stacked parameters; it is not changed.
        path: its path in the model.
        context: the state shared by all layers with experts.

    Raises:
        IncompatibleExpert: if it computes something different from this class.
    """

    base: Any

    def __init__(self, base: Any, path: str, context: RoutingContext):
        super().__init__()
        self.base = base
        self._context = context
        self._first = "gate_up_proj" if base.has_gate else "up_proj"
        self._signature = inspect.signature(base.forward)
        for parameter in (self._first, "down_proj"):
            for index in range(base.num_experts):
                entry = Entry(path, parameter, index)
                self.add_module(entry.name, StackedLayer(base, entry))
        self._check(path)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Apply the mixture to hidden states ``[T, I]`` with indices and weights ``[T, K]``."""
        call = self._context.active
        if call.chooser is None:
            result: Tensor = self.base(*args, **kwargs)
            return result
        x, indices, weights = self._signature.bind(*args, **kwargs).args
        return self._mix(x, indices, weights, call)

    def _mix(self, x: Tensor, indices: Tensor, weights: Tensor, call: Call) -> Tensor:
        rows = call.rows_of(x)
        outputs = x.new_zeros(*indices.shape, x.shape[-1])  # [T, K, O]
        for index in indices.unique().tolist():
            if index >= self.base.num_experts:
                continue  # a place that the base model leaves empty
            tokens, places = (indices == index).nonzero(as_tuple=True)
            with self._context.own.set_to(Call(call.chooser, rows[tokens])):
                y = self._run(index, x[tokens])
            outputs[tokens, places] = (y * weights[tokens, places, None]).to(outputs.dtype)
        # Not index_add, which adds in any order on GPUs.
        return outputs.sum(1)

    def _run(self, index: int, x: Tensor) -> Tensor:
        """Run one sub-layer on ``[T, I]``."""
        base = self.base
        hidden: Tensor = self.get_submodule(f"{self._first}[{index}]")(x)
        hidden = base._apply_gate(hidden) if base.has_gate else base.act_fn(hidden)
        y: Tensor = self.get_submodule(f"down_proj[{index}]")(hidden)
        if base.has_post_expert_norm:
            y = base.post_expert_norm(y)
        return y

    @torch.no_grad()
    def _check(self, path: str) -> None:
        """Compare this computation with the base model's own, on random tokens."""
        stacked = self.base.down_proj
        generator = torch.Generator().manual_seed(0)
        count: int = self.base.num_experts
        _, width = stacked_shape(self.base, "down_proj")
        indices = torch.arange(2 * count).view(-1, 1) % count
        x = torch.randn(len(indices), width, generator=generator)
        weights = torch.rand(indices.shape, generator=generator)
        x, weights = x.to(stacked), weights.to(stacked)
        indices = indices.to(stacked.device)
        expected = self.base(x, indices, weights).float()
        found = self._mix(x, indices, weights, Call(None)).float()
        allowed = _TOLERANCE.get(stacked.dtype, 0.05) * expected.norm()
        if not (found - expected).norm() <= allowed:
            raise IncompatibleExpert(
                f"{type(self.base).__name__} at {path} computes more than its stacked weights, so experts "
                "cannot change it token by token: fold the expert into the base model (lorary.fold)"
            )


def is_mixture(module: nn.Module) -> bool:
    """Return whether a module is a mixture with stacked weights that ``Mixture`` can compute."""
    stacked = getattr(module, "down_proj", None)
    is_stacked = isinstance(stacked, nn.Parameter) and stacked.ndim == 3
    return is_stacked and all(hasattr(module, name) for name in _CONTRACT)


def open_mixtures(model: PreTrainedModel, paths: Iterable[str], context: RoutingContext) -> None:
    """Replace the mixtures that have some sub-layers by ``Mixture`` modules, in place.

    Args:
        model: the base model.
        paths: module paths; other layers than sub-layers are left out.
        context: the state shared by all layers with experts.

    Raises:
        IncompatibleExpert: if a mixture computes more than its weights; the model is not changed then.
    """
    wanted = {entry.module for path in paths if (entry := read_entry(path)) is not None}
    opened = {
        path: Mixture(module, path, context)
        for path in sorted(wanted)
        if not isinstance(module := model.get_submodule(path), Mixture)
    }
    for path, mixture in opened.items():
        model.set_submodule(path, mixture)


def close_mixtures(model: PreTrainedModel) -> None:
    """Put the base model's own mixtures back, in place; their sub-layers must have no experts."""
    for path, mixture in list_mixtures(model).items():
        model.set_submodule(path, mixture.base)


def list_mixtures(model: nn.Module) -> dict[str, Mixture]:
    """List the opened mixtures of a model by their paths."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Mixture)}
