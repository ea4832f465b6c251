"""Arrow: a token uses the experts whose prototypes have the largest inner products with it.

Shape letters: T tokens, E experts, I layer input, K experts kept per token.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import linear

from lorary.kernels import Operators, find_operators
from lorary.routing.configs.arrow import ArrowConfig
from lorary.routing.configs.checks import (
    InputNorm,
    check_choice,
    check_input_norm,
    check_top_k,
    resolve_top_k,
)
from lorary.routing.input_norm import normalise_scores
from lorary.routing.material import LayerMaterial
from lorary.routing.shown import show_options
from lorary.routing.top_k import keep_top_k

# Up to this number of tokens, as in a decode step, the fused operator is faster on CPUs.
FEW_TOKENS = 32


def arrow_scores(
    x: Tensor, prototypes: Tensor, gains: Tensor | None = None, input_norm: InputNorm = "none"
) -> Tensor:
    """Score each expert for each token by the size of the token along its prototype, ``|x · v_e|``.

    Args:
        x: layer inputs, ``[T, I]``. The product is computed in their dtype.
        prototypes: unit rows ``[E, I]``; their signs do not matter.
        gains: ``[E]``, factors of the scores; None for 1.
        input_norm: what each input is divided by. ``none``: nothing. ``unit``: its norm, so that scores
            are absolute cosines. ``rms``: its root mean square, so that scores are absolute cosines times √I.
                An input of zeros has scores of zero.

    Returns:
        Scores ``[T, E]`` in float32, at least 0.

    Raises:
        ValueError: if ``input_norm`` is none of these.

    Source: Arrow, arXiv:2405.11157.
    """
    scores = linear(x, prototypes.to(x.dtype)).float().abs()
    if gains is not None:
        scores = scores * gains.float()
    return normalise_scores(scores, x, input_norm)


class ArrowRouter(nn.Module):
    """One layer's Arrow router. Move it to the model's dtype; otherwise each call converts the prototypes.

    Args:
        prototypes: unit rows ``[E, I]``, as from ``arrow_prototypes``.
        gains: ``[E]``, used with ``weigh_by_gain`` only; None without it.
        top_k: K, the number of experts that each token keeps.
        temperature: divides the scores before the softmax.
        input_norm: ``none``, ``unit`` or ``rms``, see `arrow_scores`.
        weigh_by_gain: multiply each score by its expert's gain.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if the shapes disagree, ``weigh_by_gain`` lacks gains, or an option is out of range.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"prototypes": "EI"}

    prototypes: Tensor

    def __init__(
        self,
        prototypes: Tensor,
        gains: Tensor | None = None,
        *,
        top_k: int = 4,
        temperature: float = 1.0,
        input_norm: InputNorm = "none",
        weigh_by_gain: bool = False,
        abstain: float | None = None,
    ):
        super().__init__()
        _check_shapes(prototypes, gains)
        if weigh_by_gain and gains is None:
            raise ValueError("weigh_by_gain needs the experts' gains, found None")
        check_input_norm(input_norm)
        check_top_k(top_k, prototypes.shape[0])
        check_choice(temperature, abstain)
        # |x · g v| = g |x · v|, so the gains are multiplied in once, here.
        weighed = prototypes * gains[:, None] if weigh_by_gain and gains is not None else prototypes
        self.register_buffer("prototypes", weighed.detach())
        self.top_k = top_k
        self.temperature = temperature
        self.input_norm: InputNorm = input_norm
        self.weigh_by_gain = weigh_by_gain
        self.abstain = abstain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        if operators := self._find_fused(x):
            return operators.choose_along(x, self.prototypes, self.top_k, self.temperature, self.abstain)
        scores = arrow_scores(x, self.prototypes, input_norm=self.input_norm)
        return keep_top_k(scores, self.top_k, self.temperature, self.abstain)

    def _find_fused(self, x: Tensor) -> Operators | None:
        """Return the compiled operators where one fused operator is faster; None elsewhere."""
        plain = self.input_norm == "none" and self.prototypes.dtype == x.dtype and not x.requires_grad
        return find_operators(x) if plain and (len(x) <= FEW_TOKENS or x.is_cuda) else None

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        experts, inputs = self.prototypes.shape
        return show_options(self, num_experts=experts, in_features=inputs)


def build_arrow(config: ArrowConfig, material: LayerMaterial) -> ArrowRouter:
    """Build one layer's Arrow router.

    Raises:
        ValueError: if the material lacks what the options need, or has fewer experts than ``top_k``.
    """
    (kind,) = config.needs
    return ArrowRouter(
        material.take(kind),
        material.take(kind.replace("prototypes", "gains")),
        top_k=resolve_top_k(config.top_k, material.num_experts),
        temperature=config.temperature,
        input_norm=config.input_norm,
        weigh_by_gain=config.weigh_by_gain,
        abstain=config.abstain,
    )


def _check_shapes(prototypes: Tensor, gains: Tensor | None) -> None:
    if prototypes.ndim != 2 or (gains is not None and gains.shape != prototypes.shape[:1]):
        found = "None" if gains is None else list(gains.shape)
        raise ValueError(
            "prototypes must be [E, I] and gains [E], one row and one number per expert, "
            f"found {list(prototypes.shape)} and {found}"
        )
