"""The one layer: a base layer and stacks of experts on it, among which a chooser chooses for each token.

E experts, R rank, I layer input, O layer output, B rows, L row length, T tokens = B×L, K experts per token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorary.files import quote
from lorary.models.layers import BaseLayer, layer_shape
from lorary.models.mix import mix_stacks
from lorary.models.mix_backends import reads_all_experts
from lorary.models.routing_context import RoutingContext
from lorary.routing import Choice, LayerRouters
from lorary.routing.shapes import find_shape_fault


class ExpertLinear(nn.Module):
    """A base layer plus experts: ``y = base(x) + mix(x, …)``.

    Which experts is not the layer's own knowledge: it asks the chooser of the call that it runs in, see
    ``lorary.routing.Chooser``. Without one the base answers alone.

    Args:
        base: the layer that stays as it is.
        a: down-projections of all experts, ``[E, R, I]``.
        b_t: up-projections, transposed, ``[E, R, O]``: the layout both products read without copying.
        context: shared by the whole model; says which call this thread is in.
        ranks: how many of the R each expert uses, the rest of its factors being zeros; None for R each.
        path: the layer's module path, by which choosers know it.

    Raises:
        ValueError: if the stacks do not fit the layer, or the ranks do not fit the stacks.
    """

    ranks: Tensor | None

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
        # A submodule, so that it moves with the layer; it is used through the default chooser.
        self.default_router: nn.Module | None = None
        self._context = context

    @property
    def router(self) -> nn.Module | None:
        """The router that chooses here in this thread; None if none does, or experts are named."""
        chooser = self._context.active.chooser
        return chooser.routers[self.path] if isinstance(chooser, LayerRouters) else None

    def note_ranks(self, ranks: Sequence[int]) -> None:
        """Say how many of the R each expert uses, so that the rest need not be computed."""
        is_mixed = min(ranks) < self.a.shape[1]
        self.ranks = torch.tensor(ranks, dtype=torch.int64, device=self.a.device) if is_mixed else None

    def list_ranks(self) -> list[int]:
        """List how many of the R each expert uses."""
        return [self.a.shape[1]] * len(self.a) if self.ranks is None else self.ranks.tolist()

    @property
    def weight(self) -> Tensor:
        """The base layer's weight: some models use its dtype or device."""
        return self.base.weight

    @property
    def b(self) -> Tensor:
        """Up-projections, ``[E, O, R]``."""
        return self.b_t.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply base and experts to ``[*, I]``, giving ``[*, O]``."""
        y = self.base(x)
        own = self._context.own.cell.value
        call = self._context.default if own is None else own
        if call.chooser is None:
            return y
        tokens = x.reshape(-1, x.shape[-1])
        choice = call.chooser.choose(self.path, tokens, call.rows_of(x))
        if choice is None:
            return y
        indices, weights, combine, subset = choice
        a: Tensor = self.a
        b_t: Tensor = self.b_t
        ranks = self.ranks
        if subset is not None and self._takes_out(choice, tokens):
            a, b_t, indices = a[subset.experts], b_t[subset.experts], subset.indices
            ranks = None if ranks is None else ranks[subset.experts]
        onto = y.reshape(-1, y.shape[-1])
        return mix_stacks(tokens, a, b_t, indices, weights, combine, onto, ranks).view(y.shape)

    def _takes_out(self, choice: Choice, tokens: Tensor) -> bool:
        """Tell whether to take out the stacks of the experts in use: neighbours are a view, others a copy."""
        if torch.compiler.is_compiling() or choice.subset is None:
            return False  # a compiled step serves whatever experts are in use
        used = choice.subset.experts
        if isinstance(used, slice):
            return True
        sizes = len(tokens), choice.indices.shape[1], len(used), self.a.shape[1]
        return reads_all_experts(tokens, *sizes)


def _check_fit(base: BaseLayer, a: Tensor, b_t: Tensor, ranks: Sequence[int] | None) -> None:
    """Look once at what compiled operators trust at every call."""
    width_in, width_out = layer_shape(base)
    fault = find_shape_fault(
        {"a": "ERI", "b_t": "ERO"}, {"a": a, "b_t": b_t}, {"I": width_in, "O": width_out}
    )
    if fault:
        raise ValueError(f"experts must fit their layer: {fault}")
    if ranks is not None and (len(ranks) != len(a) or not all(0 <= rank <= a.shape[1] for rank in ranks)):
        raise ValueError(f"ranks must be {len(a)} numbers from 0 to {a.shape[1]}, found {quote(list(ranks))}")
