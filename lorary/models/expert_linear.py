"""The layer with experts: a base layer and stacks of experts, among which a chooser chooses for each token.

E experts, R rank, I layer input, O layer output, B rows, L row length, T tokens = B×L, K experts per token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorary.files import quote, say_count
from lorary.models.layers import BaseLayer, layer_shape
from lorary.models.mix import mix_stacks
from lorary.models.mix_backends import reads_all_experts
from lorary.models.parts.placed_parts import PlacedParts
from lorary.models.routing_context import RoutingContext
from lorary.routing import Choice, LayerRouters
from lorary.routing.contract import join_components
from lorary.routing.shapes import find_shape_fault


class ExpertLinear(nn.Module):
    """A base layer plus experts: ``y = base(x) + mix(x, …)``, plus the changes of ``parts``.

    The experts are chosen by the chooser of the current call, see ``lorary.routing.Chooser``. Without a
    chooser the output is that of the base layer.

    Args:
        base: the base layer; it is not changed.
        a: down-projections of all experts, ``[E, R, I]``.
        b_t: up-projections, transposed, ``[E, R, O]``, a layout that forward and backward read without copy.
        context: the state shared by all layers of the model, which has the current call of each thread.
        ranks: number of the R rows that each expert uses; the others are zeros. None for R each.
        path: the layer's module path, which is passed to choosers.

    Raises:
        ValueError: if the stacks do not fit the layer, or the ranks do not fit the stacks.
    """

    # Parameters; an objective may put tensors with gradients in their places.
    a: Tensor
    b_t: Tensor
    ranks: Tensor | None
    parts: PlacedParts | None

    def __init__(
        self,
        base: BaseLayer,
        a: Tensor,
        b_t: Tensor,
        context: RoutingContext,
        ranks: Sequence[int] | None = None,
        path: str = "",
    ):
        super().__init__()
        _check_fit(base, a, b_t, ranks)
        self.base = base
        self.a = nn.Parameter(a, requires_grad=False)
        self.b_t = nn.Parameter(b_t, requires_grad=False)
        self.register_buffer("ranks", None, persistent=False)
        self.note_ranks([a.shape[1]] * len(a) if ranks is None else ranks)
        self.path = path
        # Changes of this layer by experts other than low-rank factors; None if there are none.
        self.parts = None
        # A submodule, so that it moves to other devices with the layer. The default chooser calls it.
        self.default_router: nn.Module | None = None
        self._context = context

    @property
    def router(self) -> nn.Module | None:
        """The router that this layer uses in this thread; None if the chooser has no layer routers."""
        chooser = self._context.active.chooser
        return chooser.routers[self.path] if isinstance(chooser, LayerRouters) else None

    def note_ranks(self, ranks: Sequence[int]) -> None:
        """Set the number of rows of the R that each expert uses; compiled operators skip the others."""
        is_mixed = min(ranks) < self.a.shape[1]
        self.ranks = torch.tensor(ranks, dtype=torch.int64, device=self.a.device) if is_mixed else None

    def list_ranks(self) -> list[int]:
        """Return the number of rows of the R that each expert uses."""
        return [self.a.shape[1]] * len(self.a) if self.ranks is None else self.ranks.tolist()

    @property
    def weight(self) -> Tensor:
        """The base layer's weight, because some models read its dtype or device."""
        return self.base.weight

    @property
    def b(self) -> Tensor:
        """Up-projections, ``[E, O, R]``."""
        return self.b_t.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply base layer and experts to ``[*, I]``, giving ``[*, O]``."""
        y = self.base(x)
        # As `self._context.active`, without the calls: this runs hundreds of times per step.
        own = self._context.own.cell.value
        call = self._context.default if own is None else own
        if call.chooser is None:
            return y
        tokens = x.reshape(-1, x.shape[-1])
        choice = call.chooser.choose(self.path, tokens, call.rows_of(x))
        if choice is None:
            return y
        parts = self.parts
        if parts is not None and not self.a.shape[1]:
            return parts(self.base, (x,), y, y, choice)
        indices, weights, combine, subset = choice[:4]
        a: Tensor = self.a
        b_t: Tensor = self.b_t
        ranks = self.ranks
        if choice.components is not None:
            # Each component is an expert of rank 1.
            a, b_t, ranks = a.flatten(0, 1)[:, None], b_t.flatten(0, 1)[:, None], None
        elif subset is not None and self._takes_out(choice, tokens):
            a, b_t, indices = a[subset.experts], b_t[subset.experts], subset.indices
            ranks = None if ranks is None else ranks[subset.experts]
        onto = y.reshape(-1, y.shape[-1])
        if self._context.general is not None:
            onto = self._add_general(self._context.general, tokens, onto, choice)
        mixed = mix_stacks(tokens, a, b_t, indices, weights, combine, onto, ranks).view(y.shape)
        return mixed if parts is None else parts(self.base, (x,), y, mixed, join_components(choice))

    def _add_general(self, place: int, tokens: Tensor, onto: Tensor, choice: Choice) -> Tensor:
        """Add the output of the general expert, which is never mixed with other experts' factors."""
        weights = tokens.new_ones(len(tokens)) if choice.general is None else choice.general
        own = slice(place, place + 1)
        ranks = None if self.ranks is None else self.ranks[own]
        indices = torch.zeros(len(tokens), 1, dtype=torch.int64, device=tokens.device)
        return mix_stacks(
            tokens, self.a[own], self.b_t[own], indices, weights[:, None], "outputs", onto, ranks
        )

    def _takes_out(self, choice: Choice, tokens: Tensor) -> bool:
        """Return whether to slice the stacks to the experts in use.

        A slice of adjacent experts is a view. Other experts need a copy, which pays only if ``mix`` would
        otherwise compute all experts.
        """
        if torch.compiler.is_compiling() or choice.subset is None:
            return False  # a compiled graph must serve any experts in use
        used = choice.subset.experts
        if isinstance(used, slice):
            return True
        sizes = len(tokens), choice.indices.shape[1], len(used), self.a.shape[1]
        return reads_all_experts(tokens, *sizes)


def _check_fit(base: BaseLayer, a: Tensor, b_t: Tensor, ranks: Sequence[int] | None) -> None:
    """Check once what compiled operators do not check in every call."""
    width_in, width_out = layer_shape(base)
    fault = find_shape_fault(
        {"a": "ERI", "b_t": "ERO"}, {"a": a, "b_t": b_t}, {"I": width_in, "O": width_out}
    )
    if fault:
        raise ValueError(f"experts must fit their layer: {fault}")
    if ranks is not None and (len(ranks) != len(a) or not all(0 <= rank <= a.shape[1] for rank in ranks)):
        raise ValueError(
            f"ranks must be {say_count(len(a), 'number')} from 0 to {a.shape[1]}, found {quote(list(ranks))}"
        )
