"""SpectR: a token uses the experts that would change it most.

Shape letters: T tokens, E experts, R rank, I layer input, O layer output, K experts kept per token.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lorary.routing.configs.checks import (
    InputNorm,
    check_choice,
    check_input_norm,
    check_top_k,
    resolve_top_k,
)
from lorary.routing.configs.spectr import SpectrConfig
from lorary.routing.input_norm import normalise_scores
from lorary.routing.material import LayerMaterial
from lorary.routing.shown import show_options
from lorary.routing.top_k import keep_top_k


def compute_norm_roots(b: Tensor) -> Tensor:
    """Compute small matrices that give the same norms as up-projections: ``|z @ root_e| = |b_e @ z|``.

    From ``b^T b = q diag(s) q^T`` follows the root ``q sqrt(diag(s))``. Unlike the Gram matrix ``b^T b``, it
    can be rounded to bfloat16: errors are not squared, and norms cannot become negative.

    Args:
        b: up-projections, ``[E, O, R]``.

    Returns:
        Roots ``[E, R, R]``, float32.

    Raises:
        ValueError: if a number is not finite.
    """
    # Layers keep up-projections transposed, in which case this is contiguous and converted faster.
    wide = b.detach().mT.double()  # [E, R, O]
    gram = wide @ wide.mT
    is_finite = gram.isfinite().flatten(1).all(1)
    if not is_finite.all():
        worst = int(is_finite.logical_not().nonzero()[0])
        raise ValueError(f"up-projections must be finite, found NaN or infinity in that of expert {worst}")
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    return (eigenvectors * eigenvalues.clamp(min=0).sqrt()[:, None, :]).float()


def spectr_scores(x: Tensor, a: Tensor, roots: Tensor, input_norm: InputNorm = "none") -> Tensor:
    """Score each expert for each token by the norm of its output, ``|b_e a_e x|``.

    Everything is computed in rank space; the largest tensor is ``[T, E, R]``.

    Args:
        x: layer inputs, ``[T, I]``. The product with ``a`` is computed in their dtype.
        a: down-projections, ``[E, R, I]``.
        roots: roots of ``bᵀb``, ``[E, R, R]``, from `compute_norm_roots`.
        input_norm: ``none``, ``unit`` or ``rms``, see `normalise_scores`.

    Returns:
        Scores ``[T, E]`` in float32, at least 0.

    Raises:
        ValueError: if ``input_norm`` is not one of these.

    Source: SpectR, arXiv:2504.03454.
    """
    shrunk = linear(x, a.flatten(0, 1).to(x.dtype)).unflatten(-1, a.shape[:2])  # [T, E, R]
    lengths = torch.einsum("ter,ers->tes", shrunk.float(), roots.float()).norm(dim=-1)
    return normalise_scores(lengths, x, input_norm)


class SpectrRouter(nn.Module):
    """One layer's SpectR router. It refers to the layer's ``a``: if that is replaced, build another router.

    Args:
        a: down-projections, ``[E, R, I]``; not copied.
        b: up-projections, ``[E, O, R]``.
        top_k: K, the number of experts that each token keeps.
        temperature: divides the scores before the softmax.
        input_norm: ``none``, ``unit`` or ``rms``, see `spectr_scores`.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range, or a weight is not finite.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"a": "ERI", "roots": "ERR"}

    a: Tensor
    roots: Tensor

    def __init__(
        self,
        a: Tensor,
        b: Tensor,
        *,
        top_k: int,
        temperature: float = 1.0,
        input_norm: InputNorm = "none",
        abstain: float | None = None,
    ):
        super().__init__()
        check_input_norm(input_norm)
        check_top_k(top_k, a.shape[0])
        check_choice(temperature, abstain)
        self.register_buffer("a", a.detach(), persistent=False)
        self.register_buffer("roots", compute_norm_roots(b))
        self.top_k = top_k
        self.temperature = temperature
        self.input_norm: InputNorm = input_norm
        self.abstain = abstain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        scores = spectr_scores(x, self.a, self.roots, self.input_norm)
        return keep_top_k(scores, self.top_k, self.temperature, self.abstain)

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        experts, rank, inputs = self.a.shape
        return show_options(self, num_experts=experts, rank=rank, in_features=inputs)


def build_spectr(config: SpectrConfig, material: LayerMaterial) -> SpectrRouter:
    """Build one layer's SpectR router.

    Raises:
        ValueError: if the material lacks factors, or has fewer experts than ``top_k``.
    """
    return SpectrRouter(
        material.take("a"),
        material.take("b"),
        top_k=resolve_top_k(config.top_k, material.num_experts),
        temperature=config.temperature,
        input_norm=config.input_norm,
        abstain=config.abstain,
    )
