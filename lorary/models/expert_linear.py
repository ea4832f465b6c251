"""The one layer: a base layer, stacks of experts on it, and whoever decides which expert a token uses.

E experts, R rank, I layer input, O layer output, B rows, L row length, T tokens = B×L, K experts per token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorary.files import quote
from lorary.kernels import find_operators
from lorary.models.decision import Decision
from lorary.models.layers import BaseLayer, layer_shape
from lorary.models.mix import mix_stacks, reads_all_experts
from lorary.models.plan import Plan
from lorary.routing.shapes import find_shape_fault


class ExpertLinear(nn.Module):
    """A base layer plus experts: ``y = base(x) + mix(x, …)``.

    The decision object, shared by all layers of a model, says who routes in the thread that runs the layer: a
    plan made for the batch comes first, then the thread's router, then the layer's; without any the base
    answers alone.

    Args:
        base: the layer that stays as it is.
        a: down-projections of all experts, ``[E, R, I]``.
        b_t: up-projections, transposed, ``[E, R, O]``: the layout both products read without copying.
        decision: shared by the whole model.
        ranks: how many of the R each expert uses, the rest of its factors being zeros; None for R each.
        path: the layer's module path, by which the decision knows it.

    Raises:
        ValueError: if the stacks do not fit the layer, or the ranks do not fit the stacks.
    """

    ranks: Tensor | None

    def __init__(
        self,
        base: BaseLayer,
        a: Tensor,
        b_t: Tensor,
        decision: Decision,
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
        self.set_router(None)
        self.path = path
        self._decision = decision

    @property
    def router(self) -> nn.Module | None:
        """Who routes here, in this thread, unless there is a plan."""
        routers = self._decision.ruling.routers
        return self._modules["router"] if routers is None else routers[self.path]

    def set_router(self, router: nn.Module | None) -> None:
        """Let a router choose for all threads that have none of their own; None for nobody."""
        # As a submodule, so that it moves with the layer; the name is the property's.
        self._modules["router"] = router

    def note_ranks(self, ranks: Sequence[int]) -> None:
        """Say how many of the R each expert uses, so that the rest need not be computed."""
        is_mixed = min(ranks) < self.a.shape[1]
        self.ranks = torch.tensor(ranks, dtype=torch.int64, device=self.a.device) if is_mixed else None

    def list_ranks(self) -> list[int]:
        """List how many of the R each expert uses."""
        return [self.a.shape[1]] * len(self.a) if self.ranks is None else self.ranks.tolist()

    @property
    def b(self) -> Tensor:
        """Up-projections, ``[E, O, R]``."""
        return self.b_t.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply base and experts to ``[*, I]``, giving ``[*, O]``."""
        y = self.base(x)
        ruling = self._decision.own.cell.value
        plan = ruling.plan
        a: Tensor = self.a
        b_t: Tensor = self.b_t
        ranks = self.ranks
        tokens = x.reshape(-1, x.shape[-1])
        if plan is not None:
            if plan.is_base_only:
                return y
            narrow = self._takes_out(plan, tokens)
            indices, weights = plan.per_token(x.shape[:-1], narrow)
            if narrow:
                a, b_t = a[plan.used], b_t[plan.used]
                ranks = None if ranks is None else ranks[plan.used]
        else:
            router = self._modules["router"] if ruling.routers is None else ruling.routers[self.path]
            if router is None:
                return y
            indices, weights = router(tokens)
        combine = ruling.combine or self._decision.combine_for_all
        onto = y.reshape(-1, y.shape[-1])
        return mix_stacks(tokens, a, b_t, indices, weights, combine, onto, ranks).view(y.shape)

    def _takes_out(self, plan: Plan, tokens: Tensor) -> bool:
        """Tell whether to take out the stacks of the experts in use: neighbours are a view, others a copy."""
        if torch.compiler.is_compiling() or plan.used is None:
            return False  # a compiled step serves whatever experts are in use
        if isinstance(plan.used, slice):
            return True
        sizes = len(tokens), plan.top_k, len(plan.used), self.a.shape[1]
        return reads_all_experts(find_operators(tokens), *sizes)


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
