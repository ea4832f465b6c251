"""Facts that a user gives instead of computing them here.

N rows, I layer input, D width of an embedding.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lorary.errors import suggest
from lorary.facts.fact import Fact
from lorary.facts.rows import pack_rows
from lorary.facts.soundness import Artifact
from lorary.facts.table import FACTS
from lorary.files import quote
from lorary.models import ExpertStack


def can_be_given(fact: Fact) -> bool:
    """Tell whether a fact can be given: it must be one tensor of the fact's name."""
    return list(fact.shapes) == [fact.name]


def list_givable() -> list[str]:
    """List the facts that can be given."""
    return [name for name, fact in FACTS.items() if can_be_given(fact)]


def check_given(names: Sequence[str]) -> None:
    """Refuse names of facts that cannot be given.

    Raises:
        ValueError: naming the nearest facts.
    """
    for name in names:
        if name not in list_givable():
            raise ValueError(
                f"{quote(name)} is no fact that can be handed over: {suggest(name, list_givable())}"
            )


def take_rows(
    fact: Fact,
    stack: ExpertStack,
    rows: Mapping[str, Tensor],
    names: Sequence[str],
    known: Mapping[str, Artifact],
) -> Mapping[str, Artifact]:
    """Check given rows, and turn them into an artifact per expert.

    Args:
        fact: what they are of.
        stack: the experts on the model.
        rows: module path -> ``[N, I]``; or expert -> ``[N, D]`` for a fact of the output layer.
        names: the experts that rows of layers belong to.
        known: the rows given before.

    Raises:
        ValueError: if a path is no layer with experts, or a shape is not as it must be.
    """
    if fact.place == "layers":
        _check_layers(fact.name, stack, rows, names)
        return pack_rows(rows, names)
    before = {name: artifact[fact.name] for name, artifact in known.items()}
    _check_output(fact.name, before, rows)
    return {name: {fact.name: tensor.detach().float().cpu()} for name, tensor in rows.items()}


def _check_layers(fact: str, stack: ExpertStack, rows: Mapping[str, Tensor], names: Sequence[str]) -> None:
    if not rows:
        raise ValueError(f"{fact} must have rows for at least one layer, found none")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{fact} must have one row for each expert, but {twice[0]!r} is named twice")
    for path, tensor in rows.items():
        if path not in stack.layers:
            raise ValueError(f"{fact} must be of layers with experts, {quote(path)} is none of them")
        expected = (len(names), stack.layers[path].a.shape[2])
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{fact} of {quote(path)} must be a tensor, found {type(tensor).__name__}")
        if tensor.shape != expected:
            raise ValueError(
                f"{fact} of {quote(path)} must be {list(expected)}, one row for each of "
                f"{len(names)} experts, found {list(tensor.shape)}"
            )
        _require_finite(tensor, f"{fact} of {quote(path)}")


def _check_output(fact: str, before: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> None:
    for name, tensor in rows.items():
        if tensor.dim() != 2 or not len(tensor):
            raise ValueError(
                f"{fact} of expert {name!r} must be [N, D], one row per example and at least one, "
                f"found {list(tensor.shape)}"
            )
        _require_finite(tensor, f"{fact} of expert {name!r}")
    widths = {name: tensor.shape[1] for name, tensor in {**before, **rows}.items()}
    for name, width in widths.items():
        first, expected = next(iter(widths.items()))
        if width != expected:
            raise ValueError(
                f"{fact} must all come from one encoder, but those of {first!r} are {expected} wide "
                f"and those of {name!r} {width}: find them all again, and hand them over together"
            )


def _require_finite(tensor: Tensor, what: str) -> None:
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise ValueError(f"{what} must be finite floating numbers: find them again")
