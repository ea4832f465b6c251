"""Whether tensors that a file holds have the names, shapes and numbers that they must have."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lorary.files import quote


def find_shape_fault(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> str | None:
    """Say which tensor is missing, superfluous, of another shape or not finite; None if none is.

    Args:
        tensors: what was found.
        shapes: name -> shape of all that must be there.
    """
    for key in sorted(tensors.keys() | shapes.keys()):
        found = list(tensors[key].shape) if key in tensors else "none"
        expected = list(shapes[key]) if key in shapes else "none"
        if found != expected:
            return f"tensor {quote(key, 60)} must have shape {expected}, found {quote(found, 60)}"
        if not tensors[key].isfinite().all():
            return f"tensor {key!r} must hold finite numbers, found NaN or infinite ones"
    return None
