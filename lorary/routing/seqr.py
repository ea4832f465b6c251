"""SEQR: a token uses the expert whose output has the largest norm, compared with its outputs on generic text.

Shape letters: T tokens, E experts, S down-projections (1 if all experts share one, else E), R rank, I layer
input, O layer output, K experts kept per token.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lorary.routing.configs.checks import InputNorm, check_choice, check_input_norm, check_top_k
from lorary.routing.configs.seqr import SeqrConfig
from lorary.routing.input_norm import normalise_scores
from lorary.routing.material import LayerMaterial
from lorary.routing.shown import show_options
from lorary.routing.spectr import compute_norm_roots
from lorary.routing.top_k import keep_top_k

SMALLEST_SHARE = 0.01
"""Smallest deviation, as a share of the mean, by which norms are divided. Otherwise an expert with nearly the
same norm for all generic tokens would have huge scores for any other token."""


def find_shared_a(a: Tensor, b: Tensor) -> Tensor | None:
    """Find the down-projection that all experts share.

    It is exact: an expert may have rows of zeros where it has no rank, if its columns of ``b`` are zeros too.

    Args:
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``.

    Returns:
        ``[R, I]``; None if experts have different ones.
    """
    has_row = a.any(-1)  # [E, R]
    # Each row from the first expert that has it.
    first = has_row.to(torch.int8).argmax(0)
    shared = a[first, torch.arange(a.shape[1], device=a.device)]
    fits = (a == shared).all(-1) | ~b.any(1)
    return shared if bool(fits.all()) else None


def output_lengths(x: Tensor, a: Tensor, roots: Tensor, input_norm: InputNorm = "none") -> Tensor:
    """Compute the norm of each expert's output for each token, ``|b_e a_e x|``.

    Args:
        x: layer inputs, ``[T, I]``. The product with ``a`` is computed in their dtype.
        a: down-projections, ``[S, R, I]``; one that all experts share is computed once for all.
        roots: matrices with the norms of ``b``, ``[E, R, R]``, from `compute_norm_roots`. They are
            the triangular factors of a QR decomposition of ``b``, up to a rotation that keeps norms.
        input_norm: ``none``, ``unit`` or ``rms``, see `normalise_scores`.

    Returns:
        ``[T, E]`` in float32, at least 0.
    """
    shrunk = linear(x, a.flatten(0, 1).to(x.dtype)).unflatten(-1, a.shape[:2]).float()
    shrunk = shrunk.expand(-1, len(roots), -1)
    lengths = torch.einsum("ter,ers->tes", shrunk, roots.float()).norm(dim=-1)
    return normalise_scores(lengths, x, input_norm)


def standardise_lengths(lengths: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """Standardise the norms of experts' outputs by their own norms on generic tokens.

    Args:
        lengths: ``[T, E]``.
        means: over generic tokens, ``[E]``; 0 for an expert that adds nothing.
        deviations: standard deviations over generic tokens, ``[E]``.

    Returns:
        z-scores ``[T, E]``; the smallest number for an expert that adds nothing.

    Source: SEQR, arXiv:2509.18093.
    """
    scores = (lengths - means) / deviations.maximum(SMALLEST_SHARE * means).clamp_min(1e-30)
    return scores.masked_fill(means == 0, torch.finfo(torch.float32).min)


class SeqrRouter(nn.Module):
    """One layer's SEQR router. It may refer to the layer's ``a``: if that is replaced, build another router.

    The paper assumes one down-projection for all experts, which is then applied once per token. Otherwise,
    norms are computed as by SpectR, with the same result: the expert of the largest score, exactly.

    Args:
        a: down-projections, ``[E, R, I]``; not copied, unless all experts share one.
        b: up-projections, ``[E, O, R]``.
        norms: mean and standard deviation of each expert's norms on generic tokens, ``[E]``
            each; None for plain norms. If all means are 0, as in a layer that no generic token reaches,
            plain norms are used.
        top_k: K, the number of experts that each token keeps.
        temperature: divides the scores before the softmax.
        input_norm: ``none``, ``unit`` or ``rms``, see `normalise_scores`.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range, or a weight is not finite.

    Source: SEQR, arXiv:2509.18093.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"a": "SRI", "roots": "ERR", "means": "E", "deviations": "E"}
    KEEPS_FLOAT32: ClassVar[bool] = True
    """z-scores are differences of near numbers, which bfloat16 would round away."""

    a: Tensor
    roots: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        a: Tensor,
        b: Tensor,
        norms: tuple[Tensor, Tensor] | None = None,
        *,
        top_k: int = 1,
        temperature: float = 1.0,
        input_norm: InputNorm = "none",
        abstain: float | None = None,
    ):
        super().__init__()
        check_input_norm(input_norm)
        check_top_k(top_k, a.shape[0])
        check_choice(temperature, abstain)
        shared = find_shared_a(a, b)
        means, deviations = (torch.zeros(len(a)), torch.zeros(len(a))) if norms is None else norms
        self.is_standardised = norms is not None and bool(means.any())
        self.register_buffer("a", a.detach() if shared is None else shared[None].detach(), persistent=False)
        self.register_buffer("roots", compute_norm_roots(b))
        self.register_buffer("means", means.detach().float())
        self.register_buffer("deviations", deviations.detach().float())
        self.top_k, self.temperature, self.abstain = top_k, temperature, abstain
        self.input_norm: InputNorm = input_norm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        scores = output_lengths(x, self.a, self.roots, self.input_norm)
        if self.is_standardised:
            scores = standardise_lengths(scores, self.means.float(), self.deviations.float())
        return keep_top_k(scores, self.top_k, self.temperature, self.abstain)

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        _, rank, inputs = self.a.shape
        return show_options(self, num_experts=len(self.roots), rank=rank, in_features=inputs)


def build_seqr(config: SeqrConfig, material: LayerMaterial) -> SeqrRouter:
    """Build one layer's SEQR router.

    Raises:
        ValueError: if the material lacks factors or norms, or has fewer experts than ``top_k``.
    """
    norms = None
    if config.standardise:
        norms = material.take("norm_means"), material.take("norm_deviations")
    return SeqrRouter(
        material.take("a"),
        material.take("b"),
        norms,
        top_k=config.top_k,
        temperature=config.temperature,
        input_norm=config.input_norm,
        abstain=config.abstain,
    )
