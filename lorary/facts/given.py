"""Facts that the user passes to ``provide``.

N rows, I layer input, D width of an embedding.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lorary.errors import suggest
from lorary.facts.fact import Fact
from lorary.facts.rows import pack_rows
from lorary.facts.soundness import Artifact
from lorary.facts.table import FACTS
from lorary.files import quote, say_count
from lorary.models import ExpertStack


def can_be_given(fact: Fact) -> bool:
    """Return whether a fact can be given: it must consist of one tensor, of the fact's name, or be joint."""
    return fact.joint is not None or list(fact.shapes) == [fact.name]


def is_joint(name: str) -> bool:
    """Return whether a name is that of a fact of several experts together."""
    return name in FACTS and FACTS[name].joint is not None


def list_givable() -> list[str]:
    """List the names of the facts that can be given."""
    return [name for name, fact in FACTS.items() if can_be_given(fact)]


def check_given(names: Sequence[str]) -> None:
    """Refuse names of facts that cannot be given.

    Raises:
        ValueError: if a name is not that of a fact that can be given; the message has the nearest names.
    """
    for name in names:
        if name not in list_givable():
            raise ValueError(
                f"{quote(name)} is not a fact that provide() takes: {suggest(name, list_givable())}"
            )


def join_given(
    facts: Mapping[str, Mapping[str, Tensor]], named: Mapping[str, Mapping[str, Tensor] | None]
) -> dict[str, Mapping[str, Tensor]]:
    """Put together the facts of a mapping and those given by keywords, without those that are None.

    Raises:
        ValueError: if a fact is in both.
    """
    twice = sorted(facts.keys() & named.keys())
    if twice:
        raise ValueError(f"{quote(twice[0])} is given twice: in facts, and by its name")
    return {name: rows for name, rows in {**facts, **named}.items() if rows is not None}


def take_rows(
    fact: Fact,
    stack: ExpertStack,
    rows: Mapping[str, Tensor],
    names: Sequence[str],
    routed: Sequence[str],
    known: Mapping[str, Artifact],
) -> Mapping[str, Artifact]:
    """Check given rows, and turn them into an artifact per expert.

    Args:
        fact: the fact that the rows are values of.
        stack: the experts on the model.
        rows: module path -> ``[N, I]``; or expert -> ``[N, D]`` for a fact of the output layer.
        names: the experts that rows of layers belong to.
        routed: the experts that a router may choose: rows must be given for every layer that one changes.
        known: expert -> artifact given earlier; embeddings must have the same width.

    Returns:
        Expert -> artifact.

    Raises:
        ValueError: if a path is not that of a layer with experts, a layer has no rows, a shape is wrong or a
            number is not finite.
    """
    if fact.place == "layers":
        _check_layers(fact, stack, rows, names, routed)
        return pack_rows(rows, names)
    before = {name: artifact[fact.name] for name, artifact in known.items()}
    _check_output(fact.name, before, rows)
    return {name: {fact.name: tensor.detach().float().cpu()} for name, tensor in rows.items()}


def _check_layers(
    kind: Fact, stack: ExpertStack, rows: Mapping[str, Tensor], names: Sequence[str], routed: Sequence[str]
) -> None:
    fact = kind.name
    if not rows:
        raise ValueError(f"{fact} must have rows for at least one layer, found no layers")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{fact} must have one row for each expert, but {twice[0]!r} is named twice")
    for path, tensor in rows.items():
        if path not in stack.layers:
            raise ValueError(f"{fact} must be for layers with experts, but {quote(path)} is not one of them")
        expected = (len(names), kind.width(stack.layers[path]))
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{fact} of {quote(path)} must be a tensor, found {type(tensor).__name__}")
        if tensor.shape != expected:
            raise ValueError(
                f"{fact} of {quote(path)} must be {list(expected)}, one row for each of "
                f"{say_count(len(names), 'expert')}, found {list(tensor.shape)}"
            )
        _require_finite(tensor, f"{fact} of {quote(path)}")
    missing = [path for path in _list_changed(stack, routed) if path not in rows]
    if missing:
        shown = ", ".join(map(quote, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise ValueError(
            f"{fact} must have rows for every layer that an expert changes, found none for "
            f"{say_count(len(missing), 'layer')}: {shown}. Compute them on this model"
        )


def _list_changed(stack: ExpertStack, routed: Sequence[str]) -> list[str]:
    """List the layers that an expert of the router's changes; others are there for experts used by name."""
    places = [stack.index(name) for name in routed]
    ranks = {path: layer.list_ranks() for path, layer in stack.layers.items()}
    return [path for path, own in ranks.items() if any(own[place] for place in places)]


def _check_output(fact: str, before: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> None:
    for name, tensor in rows.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{fact} of expert {name!r} must be a tensor, found {type(tensor).__name__}")
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
                f"{fact} must all come from one encoder, but those of {first!r} have "
                f"{say_count(expected, 'number')} "
                f"and those of {name!r} have {width}: compute all of them again, and pass them together"
            )


def _require_finite(tensor: Tensor, what: str) -> None:
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise ValueError(f"{what} must be finite floating-point numbers: compute them again")
