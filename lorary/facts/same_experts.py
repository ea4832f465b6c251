"""Checking that the experts of a library are those on a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.models import ExpertStack
from lorary.models.fit_paths import fit_paths


def check_loaded(stack: ExpertStack, expert: Expert, name: str) -> None:
    """Check that an expert's weights equal those on the model under that name.

    Raises:
        LibraryError: if they differ.
    """
    index = stack.index(name)
    (expert,) = fit_paths(stack.model, {name: expert}).values()
    for path, layer in stack.layers.items():
        factors = expert.factors.get(path)
        rank = 0 if factors is None else factors.rank
        is_same = not layer.a[index, rank:].any() and not layer.b_t[index, rank:].any()
        if factors is not None:
            for loaded, stored in ((layer.a, factors.a), (layer.b_t, factors.b.T)):
                own = (*stack.context.rounded, loaded.dtype)
                found, known = (
                    _round(each, own) for each in (loaded[index, :rank], stored.to(loaded.device))
                )
                is_same = is_same and torch.equal(found, known)
        if not is_same:
            raise LibraryError(
                f"expert {name!r} in the library is not the one this model was loaded with: load the model "
                "again"
            )


def _round(values: Tensor, dtypes: Sequence[torch.dtype]) -> Tensor:
    """Round values to some dtypes, one after the other; a second time changes nothing."""
    for dtype in dtypes:
        values = values.to(dtype)
    return values
