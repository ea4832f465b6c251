"""Trying whether a model can answer prompts of different lengths in one batch, padded on the left.

B prompts, V vocabulary.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from lorary.models import ExpertStack
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.passes.trial import find_tolerance

_PROMPTS = ((5, 6, 7, 8, 9), (10, 11), (12, 13, 14))
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
    key = (model.config._attn_implementation, model.dtype)
    kept = _KEPT.get(model)
    if kept is None or kept[0] != key:
        with stack.choosing(None), evaluating(model):
            kept = _KEPT[model] = key, _try_padding(model)
    return kept[1]


def _try_padding(model: PreTrainedModel) -> bool:
    size = model.get_input_embeddings().weight.shape[0]
    prompts = [[token % size for token in prompt] for prompt in _PROMPTS]
    try:
        together = _predict(model, prompts)
        alone = torch.cat([_predict(model, [prompt]) for prompt in prompts])
    except MODEL_FAILURES:
        return False
    # NaN compares as False, so a model that gives NaN counts as not exact.
    return bool((together - alone).abs().max() <= find_tolerance(model) * alone.std())


def _predict(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits of the generated tokens, ``[B, steps × V]``."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    found = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=GenerationConfig(
            max_new_tokens=_NUM_STEPS,
            min_new_tokens=_NUM_STEPS,
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        ),
    )
    return torch.cat(found.logits, dim=1).float()
