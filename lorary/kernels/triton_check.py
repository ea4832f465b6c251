"""Whether Triton's operators agree with PyTorch on a device: tested once, before models use them.

T tokens, E experts, R rank, I layer input, O layer output, K experts per token.
"""

import logging
from functools import cache

import torch
from torch import Tensor

from lorary.kernels import triton_ops
from lorary.kernels.checks import sum_dtype

TOLERANCES = {torch.bfloat16: 2e-2, torch.float16: 5e-3, torch.float32: 1e-4, torch.float64: 1e-9}
SHARE_TOLERANCE = 1e-5  # tolerance of weights, which are float32 for every dtype of a model
FEW, MANY = 4, triton_ops.FEW_PAIRS
EXPERTS, RANK, INPUTS, OUTPUTS, TOP_K = 24, 16, 64, 96, 2

logger = logging.getLogger("lorary")


@cache
def is_right_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether they can be used; a warning says why not."""
    try:
        faults = [fault for tokens in (FEW, MANY) for fault in _find_faults(tokens, device, dtype)]
    except Exception as failure:  # any error of a compiler, a driver or a device
        faults = [f"{type(failure).__name__}: {failure}"]
    if faults:
        logger.warning(
            "Triton's operators cannot be used for %s on %s, experts run on plain PyTorch operators, which "
            "are slower (LORARY_KERNELS=0 does not try): %s",
            *(dtype, device, "; ".join(faults)[:500]),
        )
    return not faults


def _find_faults(tokens: int, device: torch.device, dtype: torch.dtype) -> list[str]:
    """Compare all operators with float64, on random numbers."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device="cpu").to(device, dtype)

    x, onto = draw(tokens, INPUTS), draw(tokens, OUTPUTS)
    a, b_t = draw(EXPERTS, RANK, INPUTS), draw(EXPERTS, RANK, OUTPUTS)
    indices = draw(tokens, EXPERTS).topk(TOP_K).indices
    weights = draw(tokens, TOP_K).to(sum_dtype(dtype))
    shrunk = torch.einsum("ti,tkri->tkr", x.double(), a.double()[indices])
    own = b_t.double()[indices]
    weight = weights.double()[:, :, None]
    merged = weight * (weight * shrunk).sum(1, keepdim=True)
    scores = (x.double() @ a[:, 0].double().T).abs()
    best = scores.topk(TOP_K)
    spread = torch.zeros(tokens, EXPERTS, RANK, dtype=torch.float64, device=device)
    spread.scatter_(1, indices[:, :, None].expand_as(shrunk), shrunk)
    chosen, shares = triton_ops.choose_along(x, a[:, 0].contiguous(), TOP_K, 1.0, None)
    numbers = shrunk.to(weights.dtype)
    pairs = {
        "mix, outputs": (
            triton_ops.mix_rows(x, a, b_t, indices, weights, onto, "outputs"),
            onto.double() + torch.einsum("tkr,tkro->to", weight * shrunk, own),
        ),
        "mix, factors": (
            triton_ops.mix_rows(x, a, b_t, indices, weights, onto, "factors"),
            onto.double() + torch.einsum("tkr,tkro->to", merged, own),
        ),
        "shrink": (triton_ops.shrink_rows(x, a, indices), shrunk),
        "expand": (triton_ops.expand_rows(numbers, b_t, indices), torch.einsum("tkr,tkro->to", shrunk, own)),
        "gather": (
            triton_ops.gather_rows(numbers, x, indices, EXPERTS),
            torch.einsum("ter,ti->eri", spread, x.double()),
        ),
        "choose": (scores.gather(1, chosen), best.values),
        "share": (shares, best.values.softmax(1)),
    }
    faults = []
    for name, (found, exact) in pairs.items():
        error = float((found.double() - exact).norm() / exact.norm())
        if not error <= max(TOLERANCES[dtype], SHARE_TOLERANCE if name == "share" else 0.0):
            faults.append(f"{name} is off by {error:.2g} with {tokens} tokens")
    return faults
