"""Checking that the experts of a library are those on a model."""

import torch

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
                is_same = is_same and torch.equal(loaded[index, :rank], stored.to(loaded))
        if not is_same:
            raise LibraryError(
                f"expert {name!r} in the library is not the one this model was loaded with: load the model "
                "again"
            )
