"""The experts that a method may use for a task, attached to the base model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lorary.adaptation.methods.contract import Context
from lorary.assembly import RoutedModel, load_model
from lorary.experts import Expert
from lorary.library import Library
from lorary.library.view import LibraryView


@contextmanager
def attach_chosen(context: Context, names: Sequence[str]) -> Iterator[RoutedModel]:
    """Attach experts to the base model within this context; no router chooses."""
    model = load_model(
        context.base, choose_experts(context.experts, names), router=None, trust_base=context.trust_base
    )
    try:
        yield model
    finally:
        model.detach()


def choose_experts(experts: Mapping[str, Expert], names: Sequence[str]) -> Mapping[str, Expert]:
    """Return some experts; those of a library with what it stores about them."""
    if isinstance(experts, Library):
        return LibraryView(experts, sorted(names), {})
    if isinstance(experts, LibraryView):
        return LibraryView(experts.library, sorted(names), {})
    return {name: experts[name] for name in names}
