"""The experts that a method may use for a task, attached to the base model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lorary.adaptation.chosen import choose_experts
from lorary.adaptation.methods.contract import Context
from lorary.assembly import RoutedModel, load_model


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
