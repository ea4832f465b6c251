"""Arrow: a token goes to the experts whose prototypes it lies along.

Shape letters: T tokens, E experts, I layer input, K experts kept per token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lorary.routing.top_k import check_temperature, check_top_k, keep_top_k

InputNorm = Literal["none", "unit", "rms"]
INPUT_NORMS: Sequence[str] = get_args(InputNorm)


@dataclass(frozen=True, kw_only=True)
class ArrowConfig:
    """How Arrow turns inputs and prototypes into a choice of experts."""

    top_k: int = 4
    """How many experts each token keeps at each layer."""
    temperature: float = 1.0
    """Divides the scores: near 0 the best expert takes all, a large one makes the kept ones equal."""
    input_norm: InputNorm = "none"
    """What each input is divided by before it is scored: nothing, its length, or its root mean square."""
    weigh_by_gain: bool = False
    """Multiply each score by how much its expert amplifies its prototype."""

    def __post_init__(self) -> None:
        faults = []
        if self.top_k < 1:
            faults.append(f"top_k must be at least 1, found {self.top_k!r}")
        if not self.temperature > 0:
            faults.append(f"temperature must be above 0, found {self.temperature!r}")
        if self.input_norm not in INPUT_NORMS:
            faults.append(f"input_norm must be one of {', '.join(INPUT_NORMS)}, found {self.input_norm!r}")
        if faults:
            raise ValueError("; ".join(faults))


def arrow_scores(
    x: Tensor, prototypes: Tensor, gains: Tensor | None = None, input_norm: InputNorm = "none"
) -> Tensor:
    """Score each expert for each token by how far the token reaches along its prototype, ``|x · v_e|``.

    Args:
        x: layer inputs, ``[T, I]``. The product runs in their dtype.
        prototypes: unit rows ``[E, I]``; their signs do not matter.
        gains: ``[E]``, multiplied to the scores; None for 1.
        input_norm: divides each input by nothing (``none``), by its length (``unit``: scores are the absolute
            cosines) or by its root mean square (``rms``: cosines times the square root of I, the size they
            have after a normalised input). An input of zeros scores zero.

    Returns:
        Scores ``[T, E]`` in float32, at least 0.

    Raises:
        ValueError: if ``input_norm`` is not one of these.

    Source: Arrow, arXiv:2405.11157.
    """
    scores = linear(x, prototypes.to(x.dtype)).float().abs()
    if gains is not None:
        scores = scores * gains.float()
    if input_norm == "none":
        return scores
    if input_norm not in INPUT_NORMS:
        raise ValueError(f"input_norm must be one of {', '.join(INPUT_NORMS)}, found {input_norm!r}")
    wide = torch.promote_types(x.dtype, torch.float32)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide).float()
    if input_norm == "rms":
        size = size / x.shape[-1] ** 0.5
    return scores / size.clamp_min(torch.finfo(torch.float32).tiny)


class ArrowRouter(nn.Module):
    """One layer's Arrow router. Move it to the model's dtype, or each call converts the prototypes.

    Args:
        prototypes: unit rows ``[E, I]``, as from ``arrow_prototypes``.
        gains: ``[E]``, used with ``weigh_by_gain`` only; None is fine without it.
        top_k: K, how many experts each token keeps.
        temperature: divides the scores before the softmax.
        input_norm: ``none``, ``unit`` or ``rms``, see `arrow_scores`.
        weigh_by_gain: multiply each score by its expert's gain.

    Raises:
        ValueError: if the shapes disagree, ``weigh_by_gain`` lacks gains, or an option is out of range.
    """

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
    ):
        super().__init__()
        _check_shapes(prototypes, gains)
        if weigh_by_gain and gains is None:
            raise ValueError("weigh_by_gain needs the experts' gains, found None")
        if input_norm not in INPUT_NORMS:
            raise ValueError(f"input_norm must be one of {', '.join(INPUT_NORMS)}, found {input_norm!r}")
        check_top_k(top_k, prototypes.shape[0])
        check_temperature(temperature)
        # |x · g v| = g |x · v|: weighing now costs nothing later.
        weighed = prototypes * gains[:, None] if weigh_by_gain and gains is not None else prototypes
        self.register_buffer("prototypes", weighed.detach())
        self.top_k = top_k
        self.temperature = temperature
        self.input_norm: InputNorm = input_norm
        self.weigh_by_gain = weigh_by_gain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        scores = arrow_scores(x, self.prototypes, input_norm=self.input_norm)
        return keep_top_k(scores, self.top_k, self.temperature)

    def extra_repr(self) -> str:
        """Show what cannot be seen from the buffers, as ``print(model)`` does."""
        experts, inputs = self.prototypes.shape
        return (
            f"num_experts={experts}, in_features={inputs}, top_k={self.top_k}, "
            f"temperature={self.temperature}, input_norm={self.input_norm!r}, "
            f"weigh_by_gain={self.weigh_by_gain}"
        )


def _check_shapes(prototypes: Tensor, gains: Tensor | None) -> None:
    if prototypes.ndim != 2 or (gains is not None and gains.shape != prototypes.shape[:1]):
        found = "None" if gains is None else list(gains.shape)
        raise ValueError(
            "prototypes must be [E, I] and gains [E], one row and one number per expert, "
            f"found {list(prototypes.shape)} and {found}"
        )
