"""Normalising inputs before they are scored.

Shape letters: T tokens, E experts, I layer input.
"""

import torch
from torch import Tensor

from lorary.routing.configs.checks import InputNorm, check_input_norm


def normalise_scores(scores: Tensor, x: Tensor, input_norm: InputNorm) -> Tensor:
    """Turn scores of inputs into scores of normalised inputs.

    The scores must be proportional to the norm of their input.

    Args:
        scores: ``[T, E]``, float32.
        x: the inputs that were scored, ``[T, I]``.
        input_norm: what each input is divided by: nothing (``none``), its norm (``unit``) or its root
            mean square (``rms``). An input of zeros keeps its scores of zero.

    Raises:
        ValueError: if ``input_norm`` is none of these.
    """
    check_input_norm(input_norm)
    if input_norm == "none":
        return scores
    # Squares of 16-bit numbers overflow or lose digits in their own dtype.
    wide = torch.promote_types(x.dtype, torch.float32)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide).float()
    if input_norm == "rms":
        size = size / x.shape[-1] ** 0.5
    return scores / size.clamp_min(torch.finfo(torch.float32).tiny)
