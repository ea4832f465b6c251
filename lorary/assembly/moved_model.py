"""Moving a routed model to another device or dtype, as ``transformers`` models are moved."""

from typing import Any, Self

import torch
from torch import Tensor

from lorary.assembly.current_router import CurrentRouter
from lorary.facts.known import Facts
from lorary.files import quote
from lorary.models import BaseModel
from lorary.models.device import choose_device
from lorary.models.moving import moved

Device = str | int | torch.device


class MovedModel:
    """A model with experts that can be moved: a base of ``RoutedModel``, which sets the attributes."""

    base: BaseModel
    facts: Facts
    _current: CurrentRouter

    def to(
        self,
        *places: Device | torch.dtype | Tensor | None,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Move the model to a device, or change the dtype of its weights, in place: base model and experts.

        The router is kept, with its options, and what it is built from is found again. Routers made by
        ``router(…)`` before must be made again. Values that were rounded stay so: a model that was loaded in
        bfloat16 and moved to float32 computes in float32 with bfloat16 weights. Saved, it has the experts as
        they were loaded. In a narrower dtype the model is the one that ``load_model(…, dtype=…)`` gives. Both
        copies are in memory until the move is done. After an error the model is as it was.

        Args:
            places: devices and dtypes, as of ``torch.nn.Module.to``: ``to("cuda")``, ``to(torch.float16)``,
                ``to("cuda:1", torch.bfloat16)``; a tensor stands for its device and dtype.
            device: the device.
            dtype: the dtype.

        Raises:
            ValueError: if there is no such device or dtype, one of them is given twice, this thread is within
                ``assign`` or ``routed``, or this model cannot be moved: its base model is quantised or on
                several devices, or an expert has more than low-rank factors and the dtype is to change.
            LibraryError: if an expert in the library was replaced after the model was loaded.
        """
        for place in places:
            if isinstance(place, Tensor):
                device, dtype = _take(device, place.device), _take(dtype, place.dtype)
            elif isinstance(place, torch.dtype):
                dtype = _take(dtype, place)
            elif place is not None:
                device = _take(device, place)
        _move(self.base, self.facts, self._current, device, dtype)
        return self

    def cpu(self) -> Self:
        """Move the model to the CPU, see ``to``."""
        return self.to("cpu")

    def cuda(self, device: int | str | torch.device | None = None) -> Self:
        """Move the model to a GPU, the current one if none is given; see ``to``."""
        return self.to("cuda" if device is None else device)

    def float(self) -> Self:
        """Change the dtype to float32, see ``to``."""
        return self.to(torch.float32)

    def half(self) -> Self:
        """Change the dtype to float16, see ``to``."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """Change the dtype to bfloat16, see ``to``."""
        return self.to(torch.bfloat16)


def _take(known: Any, given: Any) -> Any:
    if known is not None:
        raise ValueError(
            f"a model is moved to one device and one dtype, found {quote(str(known))} and "
            f"{quote(str(given))}: leave one out"
        )
    return given


def _move(
    base: BaseModel,
    facts: Facts,
    current: CurrentRouter,
    device: Device | None,
    dtype: torch.dtype | None,
) -> None:
    model = base.model
    place = None if device is None else torch.zeros(0, device=choose_device(device)).device
    if place in (None, model.device) and dtype in (None, model.dtype):
        return  # also within contexts, as pipelines ask for it
    is_cast = dtype not in (None, model.dtype)
    with facts.stack.context.lock.changing("move the model"), facts.lock:
        before = facts.carried
        with moved(facts.stack, place, dtype if is_cast else None) as stack:
            # Facts of this dtype, as of a model that is loaded in it: stored ones do not depend on it.
            known = facts.exchange_computed({}) if is_cast else None
            facts.carried = stack, facts.names
            try:
                current.set_again()
            except BaseException:
                facts.carried = before
                if known is not None:
                    facts.exchange_computed(known)
                raise
