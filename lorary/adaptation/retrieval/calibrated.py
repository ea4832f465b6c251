"""Retrieval by the default router's scores of the examples' prompts.

P prompts, E experts.
"""

from collections.abc import Sequence

import torch

from lorary.adaptation.retrieval.contract import RetrievalContext, Scores
from lorary.adaptation.retrieval.reading import attached, cut_prompts
from lorary.facts.reading import read_averages
from lorary.routing.calibrated_router import CalibratedRouter


def score(context: RetrievalContext, names: Sequence[str], seed: int) -> Scores:
    """Average the calibrated router's scores over the prompts of the new task's examples.

    An expert's score for a prompt measures, as a z-score, how much more strongly it reacts to the prompt than
    to generic requests. The base model reads every prompt once. Missing calibrations of the experts are
    computed and stored with a library; they do not depend on the task.
    """
    prompts = context.prompts
    with attached(context, names) as model:
        decider = model.router("calibrated", **context.router_options).decider
        assert decider is not None and isinstance(decider.router, CalibratedRouter)
        parts = [
            decider.router.score(read_averages(model.stack, decider.router, requests)).cpu()
            for requests in cut_prompts(prompts, model.device)
        ]
        mean = torch.cat(parts).mean(0)  # [E]
        places = [model.names.index(name) for name in names]
    return Scores(mean[places].tolist(), sum(map(len, prompts)))
