"""``RoutedModel.generate`` in the form of ``transformers``: token ids in and out, as tensors.

B rows, L their length.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lorary.assembly.choosing import AUTO, ExpertChoice
from lorary.assembly.current_router import CurrentRouter
from lorary.assembly.generate_call import repeat_each
from lorary.models import BaseModel


def generate_tensors(
    base: BaseModel,
    current: CurrentRouter,
    experts: ExpertChoice | Sequence[ExpertChoice],
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Any:
    """Call the ``generate`` of ``transformers`` with the experts chosen for each row.

    Args:
        base: the base model, with the experts.
        current: the current router.
        experts: the choice for each row, or for all.
        inputs: ``input_ids`` ``[B, L]``, and further arguments of ``transformers``.
        settings: arguments of ``RoutedModel.generate``; None means that ``transformers`` decides.

    Returns:
        The result of ``transformers``: prompts and answers, ``[B, L + answer]``, unless it is asked for more.

    Raises:
        ValueError: if there are no ``input_ids``, a setting is for prompts only, or experts are named and
            there are beams.
    """
    if "input_ids" not in inputs:
        found = f"only {', '.join(inputs)}" if inputs else "neither"
        raise ValueError(
            f"generate needs prompts, or input_ids as transformers takes them, found {found}: give the token "
            "ids as input_ids"
        )
    ids = inputs["input_ids"]
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        found = f"shape {list(ids.shape)}" if isinstance(ids, Tensor) else f"a {type(ids).__name__}"
        raise ValueError(
            f"input_ids must be a tensor [B, L], found {found}: give one prompt as torch.tensor([[…]])"
        )
    for name in ("first_line", "compile"):
        if settings[name]:
            raise ValueError(f"{name} is for prompts: leave it out, or give prompts instead of input_ids")
    given = _describe(settings)
    if given.get("stop_strings") is not None:
        given["tokenizer"] = inputs.get("tokenizer", base.tokenizer)
    with _choosing(current, experts, {**inputs, **given}) as arguments:
        return base.model.generate(**arguments)


def _describe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given arguments; a temperature determines whether tokens are sampled."""
    names = ("max_new_tokens", "top_p", "top_k", "do_sample", "generation_config", "streamer")
    given = {name: settings[name] for name in names if settings[name] is not None}
    if (temperature := settings["temperature"]) is not None:
        given = {"do_sample": temperature > 0, **given}
        if temperature > 0:
            given["temperature"] = temperature
    if settings["num_return_sequences"] != 1:
        given["num_return_sequences"] = settings["num_return_sequences"]
    if settings["stop_strings"]:
        stops = settings["stop_strings"]
        given["stop_strings"] = [stops] if isinstance(stops, str) else list(stops)
    return given


@contextmanager
def _choosing(
    current: CurrentRouter, experts: ExpertChoice | Sequence[ExpertChoice], arguments: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Within this context the experts are chosen; yields the arguments of ``transformers``."""
    if isinstance(experts, str) and experts == AUTO:
        # Hooks of the model choose, see ``DirectCalls``: for each row that transformers makes.
        yield arguments
        return
    config = arguments.get("generation_config")
    beams = arguments.get("num_beams") or getattr(config, "num_beams", None) or 1
    if beams > 1:
        raise ValueError(
            f"experts named in a call cannot be used with beams, found num_beams {beams}: leave "
            "it out, or set a router"
        )
    number = arguments.pop("num_return_sequences", None) or getattr(config, "num_return_sequences", None) or 1
    rows = arguments["input_ids"].shape[0]
    repeated = {
        name: value.repeat_interleave(number, 0)
        if number > 1 and isinstance(value, Tensor) and value.ndim and value.shape[0] == rows
        else value
        for name, value in arguments.items()
    }
    with current.choosing(repeat_each(experts, number), repeated):
        yield {**repeated, "num_return_sequences": 1}
