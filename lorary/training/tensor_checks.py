"""Checks of names, shapes and values of tensors that were read from a file."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lorary.files import quote


def find_shape_fault(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> str | None:
    """Describe a tensor that is missing, unexpected, of another shape or not finite; None if there is none.

    Args:
        tensors: name -> tensor, as found.
        shapes: name -> shape, of all required tensors.
    """
    for key in sorted(tensors.keys() | shapes.keys()):
        found = list(tensors[key].shape) if key in tensors else "none"
        expected = list(shapes[key]) if key in shapes else "none"
        if found != expected:
            return f"tensor {quote(key, 60)} must have shape {expected}, found {quote(found, 60)}"
        if not tensors[key].isfinite().all():
            return f"tensor {key!r} must hold finite numbers, found NaN or infinite ones"
    return None
