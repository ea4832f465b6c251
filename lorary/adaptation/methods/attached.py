"""The experts that a method may use for a task, attached to the base model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lorary.adaptation.chosen import choose_experts
from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.methods.contract import Context
from lorary.assembly import RoutedModel, load_model


@contextmanager
def attach_chosen(context: Context, names: Sequence[str]) -> Iterator[RoutedModel]:
    """Attach experts to the base model within this context; no router chooses."""

    def tell(work: str, num_done: int, num_steps: int) -> None:
        context.on_progress(AdaptEvent(stage=work, num_done=num_done, num_steps=max(1, num_steps)))

    model = load_model(
        context.base,
        choose_experts(context.experts, names),
        router=None,
        trust_base=context.trust_base,
        on_progress=tell,
    )
    try:
        yield model
    finally:
        model.detach()
