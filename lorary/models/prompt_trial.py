"""Placing soft prompts on a model, and testing whether it can read them in one batch with other requests.

B rows of a batch, V virtual tokens, D width of embeddings.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.parts.soft_prompt import MODEL, SoftPromptPart, find_prompt
from lorary.files import say_count
from lorary.models.architecture import is_encoder_decoder
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.models.positions import count_positions
from lorary.models.prompt_inputs import VirtualTokens
from lorary.models.routing_context import Call, RoutingContext
from lorary.models.soft_prompts import SoftPrompts
from lorary.routing import Choice

_TEXTS = ((5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16))
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}


@torch.no_grad()
def place_prompts(model: PreTrainedModel, experts: Sequence[Expert]) -> dict[int, VirtualTokens]:
    """Prepare the soft prompts of experts for a model, and test that it reads them exactly.

    Args:
        model: the base model, with experts or without.
        experts: in the order of the stacks.

    Returns:
        Place of an expert -> its soft prompt.

    Raises:
        IncompatibleExpert: if a soft prompt is for another model, or this model cannot read soft prompts.
    """
    found = {index: expert for index, expert in enumerate(experts) if find_prompt(expert) is not None}
    if not found:
        return {}
    placed = {index: _place(model, expert) for index, expert in found.items()}
    name = next(iter(found.values())).name
    with evaluating(model):
        _try_prompts(model, list(placed.values()), name)
    return placed


def _place(model: PreTrainedModel, expert: Expert) -> VirtualTokens:
    part = next(part for part in expert.parts[MODEL] if isinstance(part, SoftPromptPart))
    if is_encoder_decoder(model):
        raise _refuse(model, expert.name, "it has an encoder and a decoder, which read different texts")
    tokens = part.tokens.to(model.device)
    count, width = tokens.shape
    most = count_positions(model)
    if most is not None and count + len(_TEXTS[0]) > most:
        raise _refuse(
            model, expert.name, f"{say_count(count, 'virtual token')} leave no room in its {most} positions"
        )
    if not part.has_states:
        wanted = model.get_input_embeddings().weight.shape[1]
        if width != wanted:
            raise _refuse(model, expert.name, f"its embeddings have {wanted} numbers, the expert's {width}")
        return VirtualTokens(embeddings=tokens)
    num_layers, heads, head_width = _measure_states(model, expert.name)
    if width != num_layers * 2 * heads * head_width:
        raise _refuse(
            model,
            expert.name,
            f"a token's keys and values have {say_count(num_layers * 2 * heads * head_width, 'number')}, the "
            f"expert's {width}",
        )
    # As PEFT's get_prompt.
    states = tokens.view(count, num_layers, 2, heads, head_width).permute(1, 2, 3, 0, 4)
    return VirtualTokens(states=states.to(model.dtype))


def _measure_states(model: PreTrainedModel, name: str) -> tuple[int, int, int]:
    """Return numbers of layers and of heads with keys and values, and the width of a head."""
    try:
        cache = model(torch.tensor([[1]], device=model.device), use_cache=True).past_key_values
        shapes = {layer.keys.shape for layer in cache.layers if type(layer) is DynamicLayer}
        is_plain = len(shapes) == 1 and all(type(layer) is DynamicLayer for layer in cache.layers)
    except MODEL_FAILURES:
        is_plain = False
    if not is_plain:
        raise _refuse(model, name, "its cache has other contents than equal keys and values of all layers")
    _, heads, _, head_width = shapes.pop()
    return len(cache.layers), int(heads), int(head_width)


class _Numbered:
    """A chooser for which request ``n`` uses soft prompt ``n``, if there is one."""

    def __init__(self, count: int):
        self._count = count

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """See ``Chooser``."""
        weights = (rows < self._count).to(torch.float32)[:, None]
        return Choice(rows.clamp(max=self._count - 1)[:, None], weights, "outputs") if path == MODEL else None


def _try_prompts(model: PreTrainedModel, prompts: Sequence[VirtualTokens], name: str) -> None:
    """Compare texts with and without soft prompts in one batch with each of them alone."""
    longest = max(prompts, key=lambda prompt: prompt.count)
    shortest = min(prompts, key=lambda prompt: prompt.count)
    tried = {0: longest, 1: shortest}
    context = RoutingContext()
    chooser = _Numbered(len(tried))
    reader = SoftPrompts(tried, context).watch(model)
    texts = torch.tensor(_TEXTS, device=model.device) % model.get_input_embeddings().weight.shape[0]
    try:
        with context.own.set_to(Call(chooser)):
            together = model(input_ids=texts, use_cache=False).logits
        alone = []
        for row, text in enumerate(texts):
            with context.own.set_to(Call(chooser, torch.tensor([row]))):
                alone.append(model(input_ids=text[None], use_cache=False).logits[0])
    except MODEL_FAILURES as error:
        raise _refuse(model, name, f"it failed with virtual tokens ({error})") from error
    finally:
        reader.remove()
    expected = torch.stack(alone)
    allowed = _TOLERANCE.get(model.dtype, 0.05) * expected.float().norm()
    if together.shape != expected.shape or not (together.float() - expected.float()).norm() <= allowed:
        raise _refuse(
            model, name, "results change with the numbers of virtual tokens of other requests in the batch"
        )


def _refuse(model: PreTrainedModel, name: str, why: str) -> IncompatibleExpert:
    return IncompatibleExpert(
        f"expert {name!r} has a soft prompt, which this {type(model).__name__} cannot read: {why}; use it "
        "with its own base model, or train a LoRA"
    )


def move_prompts(prompts: Mapping[int, VirtualTokens], index: int, step: int) -> dict[int, VirtualTokens]:
    """Return soft prompts with the places of experts from ``index`` on moved by ``step``."""
    return {place + step * (place >= index): prompt for place, prompt in prompts.items()}
