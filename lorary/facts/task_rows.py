"""What is known about experts through data: a vector per expert and layer, kept with a library's experts.

N experts in question, I layer input.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.facts.carrier import Carrier
from lorary.facts.keeping import keep_artifacts
from lorary.facts.soundness import are_sound_rows, read_layout
from lorary.library import Library

Compute = Callable[[Sequence[str]], Mapping[str, Tensor]]
"""Names of experts -> module path -> ``[N, I]``, rows in the order of the names."""


def find_task_rows(
    model: Carrier,
    experts: Mapping[str, Expert],
    algorithm: str,
    parameters: Mapping[str, Any],
    digests: Mapping[str, str],
    compute: Compute,
) -> dict[str, Tensor]:
    """Give a vector per expert and layer; a ``Library`` keeps them, and only those it lacks are computed.

    They are kept under the hash of the expert's weights, the base model's fingerprint, the algorithm, its
    parameters and the data, so those of another base, or of weights or data that have changed since, are
    never taken.

    Args:
        model: carries the experts.
        experts: where they were loaded from.
        algorithm: what computes the vectors, with a version in its name.
        parameters: all else that they depend on; what JSON can hold.
        digests: expert -> hash of the data that its vectors are computed from.
        compute: called with the names of experts that lack theirs, many at once.

    Returns:
        Module path -> ``[N, I]``, float32, rows in the order of ``digests``; zeros where there is none.

    Raises:
        UnknownExpert: if an expert is not on the model, or not in the library.
        LibraryError: if an expert in the library is not the one that was loaded, or nothing can be written.
    """
    for name in digests:
        model.stack.index(name)
    if not isinstance(experts, Library):
        return _stack_rows(model, _split_rows(compute(list(digests)), list(digests)))

    def compute_batch(batch: Mapping[str, Expert]) -> dict[str, dict[str, Tensor]]:
        for name, expert in batch.items():
            check_loaded(model, expert, name)
        names = list(batch)
        return {name: _pack(rows) for name, rows in _split_rows(compute(names), names).items()}

    wanted = {
        name: {**parameters, "base": model.base.fingerprint, "data": digest}
        for name, digest in digests.items()
    }
    found = keep_artifacts(
        experts, algorithm, wanted, compute_batch, lambda name, found: are_sound_rows(model.stack, found)
    )
    return _stack_rows(model, {name: _unpack(artifact) for name, artifact in found.items()})


def _split_rows(found: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    return {
        name: {path: rows[index].float().cpu() for path, rows in found.items()}
        for index, name in enumerate(names)
    }


def _pack(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put vectors one after the other: a file with a tensor per layer takes far longer to read."""
    layout = json.dumps({path: len(row) for path, row in rows.items()})
    return {
        "rows": torch.cat(list(rows.values())),
        "layout": torch.tensor(list(layout.encode()), dtype=torch.uint8),
    }


def _unpack(artifact: Mapping[str, Tensor]) -> dict[str, Tensor]:
    layout = read_layout(artifact)
    return dict(zip(layout, artifact["rows"].split(list(layout.values())), strict=True))


def _stack_rows(model: Carrier, found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        path: torch.stack([rows.get(path, torch.zeros(layer.a.shape[2])) for rows in found.values()])
        for path, layer in model.stack.layers.items()
    }


def check_loaded(model: Carrier, expert: Expert, name: str) -> None:
    """Refuse an expert whose weights are not those that the model carries under its name.

    Raises:
        LibraryError: if they are not.
    """
    index = model.stack.index(name)
    for path, layer in model.stack.layers.items():
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
