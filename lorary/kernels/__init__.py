"""Compiled operators for the hot paths of a routed model; each equals plain PyTorch code in another room.

``cpu`` is C++, compiled when first needed; ``triton_ops`` is Triton, for CUDA devices; ``traced`` is what
``torch.compile`` sees of either.
"""

from lorary.kernels.in_use import find_operators
from lorary.kernels.operators import Operators

__all__ = [
    "Operators",
    "find_operators",
]
