"""Compiled operators for the hot paths of a routed model; each equals plain PyTorch code in another room.

``cpu`` is C++, built when first needed; ``triton_ops`` is Triton, for CUDA devices.
"""

from importlib.util import find_spec

from torch import Tensor

from lorary.kernels.cpu import choose_along, choose_best, is_compiled_for


def is_triton_for(x: Tensor) -> bool:
    """Tell whether there are Triton operators for tensors like this one."""
    if find_spec("triton") is None:
        return False
    # Imported here: Triton is not everywhere, and slow to import.
    from lorary.kernels import triton_ops

    return triton_ops.is_triton_for(x)


__all__ = ["choose_along", "choose_best", "is_compiled_for", "is_triton_for"]
