"""LAG: Arrow selects candidates, SpectR chooses among them.

Shape letters: T tokens, E experts, R rank, I layer input, O layer output, C candidates, K experts kept per
token.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from lorary.routing.arrow import arrow_scores
from lorary.routing.configs.checks import InputNorm, check_choice, check_input_norm, check_top_k
from lorary.routing.configs.lag import LagConfig
from lorary.routing.material import LayerMaterial
from lorary.routing.shown import show_options
from lorary.routing.spectr import compute_norm_roots, spectr_scores
from lorary.routing.top_k import keep_top_k


class LagRouter(nn.Module):
    """One layer's LAG router. It refers to the layer's ``a``: if that is replaced, build another router.

    Args:
        prototypes: unit rows ``[E, I]``, as from ``arrow_prototypes``.
        a: down-projections, ``[E, R, I]``; not copied.
        b: up-projections, ``[E, O, R]``.
        top_k: K, the number of experts that each token keeps.
        candidates: C, the number of experts that Arrow selects.
        temperature: divides SpectR's scores before the softmax.
        input_norm: ``none``, ``unit`` or ``rms``, see `spectr_scores`.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range, or a weight is not finite.

    Source: LAG, arXiv:2507.05346.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"prototypes": "EI", "a": "ERI", "roots": "ERR"}

    prototypes: Tensor
    a: Tensor
    roots: Tensor

    def __init__(
        self,
        prototypes: Tensor,
        a: Tensor,
        b: Tensor,
        *,
        top_k: int,
        candidates: int,
        temperature: float = 1.0,
        input_norm: InputNorm = "none",
        abstain: float | None = None,
    ):
        super().__init__()
        check_input_norm(input_norm)
        check_top_k(top_k, a.shape[0])
        check_choice(temperature, abstain)
        if not top_k <= candidates <= a.shape[0]:
            raise ValueError(
                f"candidates must be between top_k, {top_k}, and the number of experts, {a.shape[0]}, "
                f"found {candidates}"
            )
        self.register_buffer("prototypes", prototypes.detach())
        self.register_buffer("a", a.detach(), persistent=False)
        self.register_buffer("roots", compute_norm_roots(b))
        self.top_k = top_k
        self.candidates = candidates
        self.temperature = temperature
        self.input_norm: InputNorm = input_norm
        self.abstain = abstain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        candidates = arrow_scores(x, self.prototypes).topk(self.candidates, dim=-1).indices  # [T, C]
        # One product over all experts takes less time than gathering each token's own candidates.
        scores = spectr_scores(x, self.a, self.roots, self.input_norm).gather(1, candidates)
        chosen, weights = keep_top_k(scores, self.top_k, self.temperature, self.abstain)
        return candidates.gather(1, chosen), weights

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        experts, rank, inputs = self.a.shape
        return show_options(self, num_experts=experts, rank=rank, in_features=inputs)


def build_lag(config: LagConfig, material: LayerMaterial) -> LagRouter:
    """Build one layer's LAG router.

    Raises:
        ValueError: if the material lacks prototypes or factors, or has too few experts.
    """
    candidates, top_k = config.resolve(material.num_experts)
    return LagRouter(
        material.take("prototypes"),
        material.take("a"),
        material.take("b"),
        top_k=top_k,
        candidates=candidates,
        temperature=config.temperature,
        input_norm=config.input_norm,
        abstain=config.abstain,
    )
