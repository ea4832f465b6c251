"""Whether prompts of different lengths can be answered in one batch, padded on the left: found by trying.

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
_NUM_STEPS = 2  # the second one reads the cache

_KEPT: "WeakKeyDictionary[PreTrainedModel, tuple[tuple[object, ...], bool]]" = WeakKeyDictionary()


@torch.no_grad()
def can_pad_left(stack: ExpertStack) -> bool:
    """Tell whether each prompt of a batch padded on the left is continued as if it were alone.

    Models with a state, or with biases counted from the row's beginning, may not ignore such padding. The
    base model alone is tried, once; nothing on the model is changed.

    Args:
        stack: the experts on the model; they are off during these passes.
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
    # Written so that NaN differs.
    return bool((together - alone).abs().max() <= find_tolerance(model) * alone.std())


def _predict(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Give the logits of the tokens that follow, ``[B, steps × V]``."""
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
