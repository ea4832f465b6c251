"""Trying whether a model can answer prompts of different lengths in one batch, padded on the left.

B prompts, V vocabulary.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from lorary.models import ExpertStack
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.models.generation import Sampling, describe_generation
from lorary.passes.agreement import Agreement, Reading
from lorary.passes.first_inputs import capture_first_inputs, select_cells

_PROMPTS = ((5, 6, 7, 8, 9), (10, 11), (12, 13, 14))
_NEXT = 16
_NUM_STEPS = 2  # only the second step reads the key-value cache

_KEPT: "WeakKeyDictionary[PreTrainedModel, tuple[tuple[object, ...], bool]]" = WeakKeyDictionary()


@torch.no_grad()
def can_pad_left(stack: ExpertStack) -> bool:
    """Return whether each prompt of a batch padded on the left has the same logits as alone.

    Recurrent models, and models with biases counted from the row's beginning, may be influenced by the
    padding. The base model is tried once, without experts; it is not changed.

    Args:
        stack: the experts on the model; they are switched off during the trial.
    """
    model = stack.model
    key = (model.config._attn_implementation, model.dtype, model.device.type)
    kept = _KEPT.get(model)
    if kept is None or kept[0] != key:
        with stack.choosing(None), evaluating(model):
            kept = _KEPT[model] = key, _try_padding(model)
    return kept[1]


def _try_padding(model: PreTrainedModel) -> bool:
    size = model.get_input_embeddings().weight.shape[0]
    prompts = [[token % size for token in prompt] for prompt in _PROMPTS]
    others = [[(token + 1) % size for token in prompt] for prompt in prompts]
    try:
        alone = [_predict(model, [prompt])[0] for prompt in prompts]
        together = _predict(model, prompts)
        changed = [
            _predict(model, [prompt if index == kept else other for index, prompt in enumerate(prompts)])[
                kept
            ]
            for kept, other in enumerate(others)
        ]
        padded_otherwise = _predict(model, prompts, padding=1)
    except MODEL_FAILURES:
        return False
    agreement = Agreement(model.dtype, alone)
    return not any(
        agreement.differs(together[index], alone[index])
        or agreement.is_influenced(changed[index].logits, together[index].logits)
        or agreement.is_influenced(padded_otherwise[index].logits, together[index].logits)
        for index in range(len(prompts))
    )


def _predict(model: PreTrainedModel, prompts: Sequence[Sequence[int]], padding: int = 0) -> list[Reading]:
    """Read each prompt and generate, always the same token, so that rounding does not decide which one."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[padding] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with capture_first_inputs(model) as inputs:
        found = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            prefix_allowed_tokens_fn=lambda row, ids: [_NEXT],
            max_new_tokens=_NUM_STEPS,
            pad_token_id=0,
            return_dict_in_generate=True,
            # Without the preferences of the model's own generation configuration.
            **{
                **describe_generation(model, Sampling(), None),
                "min_new_tokens": _NUM_STEPS,
                "output_logits": True,
            },
        )
    logits = torch.stack(found.logits, dim=1).float()  # [B, steps, V]
    cells = mask.flatten().nonzero().squeeze(1).to(model.device)
    start = select_cells(inputs, cells, ids.numel())
    counts = mask.sum(1).tolist()
    starts = [None] * len(counts) if start is None else start.split(counts)
    return [Reading(*both) for both in zip(logits, starts, strict=True)]
