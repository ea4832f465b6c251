"""The experts with the calibrated router's weights on the examples' prompts, fine-tuned.

P prompts, E experts, K experts kept per prompt.
"""

from collections.abc import Mapping

import torch

from lorary.adaptation.methods.attached import attach_chosen
from lorary.adaptation.methods.contract import Context, NewTask, Start
from lorary.adaptation.methods.weighted import sum_experts
from lorary.facts.requests import cut_passes


@torch.no_grad()
def find_starts(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Start]:
    """Return, for each task, the exact sum of its experts with the router's mean weights over the prompts.

    Every prompt is decided separately, as in inference; the base model reads it once. The weights are the
    same in all layers.
    """
    starts = {}
    for name, task in tasks.items():
        prompts = [example.prompt_ids for example in task.examples.train[: context.config.num_read]]
        with attach_chosen(context, list(task.chosen)) as model:
            decider = model.router("calibrated", **context.router_options).decider
            assert decider is not None
            sums = torch.zeros(len(model.names), dtype=torch.float64)
            for members in cut_passes([len(ids) for ids in prompts], context.train.tokens_per_pass):
                indices, weights = decider.decide_prompts([prompts[member] for member in members])
                sums.index_add_(0, indices.flatten().cpu(), weights.flatten().double().cpu())
            own = dict(zip(model.names, (sums / len(prompts)).tolist(), strict=True))
        start, _ = sum_experts(context, name, own, "model")
        starts[name] = Start(expert=start, weights=own, num_tokens=sum(map(len, prompts)))
    return starts
