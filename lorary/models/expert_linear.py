"""The one layer: a base layer, stacks of experts on it, and whoever decides which expert a token uses.

E experts, R rank, I layer input, O layer output, B rows, L row length, T tokens = B×L, K experts per token.
"""

from torch import Tensor, nn

from lorary.models.layers import BaseLayer
from lorary.models.mix import mix
from lorary.models.plan import Decision


class ExpertLinear(nn.Module):
    """A base layer plus experts: ``y = base(x) + mix(x, …)``.

    The decision object, shared by all layers of a model, says who routes: a plan made for the batch comes
    first, then this layer's own router; without either the base answers alone.

    Args:
        base: the layer that stays as it is.
        a: down-projections of all experts, ``[E, R, I]``.
        b_t: up-projections, transposed, ``[E, R, O]``: the layout both products read without copying.
        decision: shared by the whole model.
    """

    def __init__(self, base: BaseLayer, a: Tensor, b_t: Tensor, decision: Decision):
        super().__init__()
        self.base = base
        self.a = nn.Parameter(a, requires_grad=False)
        self.b_t = nn.Parameter(b_t, requires_grad=False)
        self.router: nn.Module | None = None
        self._decision = decision

    @property
    def b(self) -> Tensor:
        """Up-projections, ``[E, O, R]``."""
        return self.b_t.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply base and experts to ``[*, I]``, giving ``[*, O]``."""
        y = self.base(x)
        plan = self._decision.plan
        a: Tensor = self.a
        b = self.b
        tokens = x.reshape(-1, x.shape[-1])
        if plan is not None:
            if plan.is_base_only:
                return y
            indices, weights = plan.per_token(x.shape[:-1])
            if plan.used is not None:
                a, b = a[plan.used], self.b_t[plan.used].transpose(1, 2)
        elif self.router is not None:
            indices, weights = self.router(tokens)
        else:
            return y
        onto = y.reshape(-1, y.shape[-1])
        return mix(tokens, a, b, indices, weights, self._decision.combine, onto=onto).view(y.shape)
