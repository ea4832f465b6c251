"""What a route decides for whole sequences, before the model runs.

P prompts, B rows of a packed batch, L row length, K experts per sequence.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from lorary.assembly import RoutedModel
from lorary.data.tokens import TokenizedExample
from lorary.facts import Requests
from lorary.passes.packing import Batch, pack_sequences
from lorary.passes.prefixes import plan_passes

RequestExperts = tuple[tuple[int, ...], tuple[float, ...]]
"""The experts of a sequence, K places in the stack, and the weight of each."""
Prompt = tuple[int, ...]
"""Token ids."""


@dataclass(frozen=True)
class RouteExperts:
    """The decisions of one route; there are none where layers decide token by token, or nobody does."""

    by_task: Mapping[str, RequestExperts] | None = None
    """Task -> its decision, for a route that names an expert per task."""
    by_prompt: Mapping[Prompt, RequestExperts] | None = None
    """Prompt -> its decision, for a router that decides per request."""

    def find(self, tasks: Sequence[str], prompts: Sequence[Prompt]) -> tuple[RequestExperts, ...] | None:
        """Give each sequence's decision, by its task or by its prompt; None where there are none."""
        if self.by_task is not None:
            return tuple(self.by_task[task] for task in tasks)
        if self.by_prompt is not None:
            return tuple(self.by_prompt[prompt] for prompt in prompts)
        return None


def name_experts(model: RoutedModel, expert_of: Mapping[str, str]) -> RouteExperts:
    """Decide for each task's own expert.

    Raises:
        UnknownExpert: if an expert is not on the model.
    """
    return RouteExperts(
        by_task={task: ((model.stack.index(expert),), (1.0,)) for task, expert in expert_of.items()}
    )


@torch.inference_mode()
def decide_prompts(
    model: RoutedModel, prompts: Sequence[Prompt], *, tokens_per_pass: int, row_length: int, share: bool
) -> RouteExperts:
    """Let the model's router decide for each prompt, once; nothing after a prompt is looked at.

    The base model alone reads them, so that prompts of all tasks may share the cells of equal beginnings.

    Args:
        model: the model, with a router that decides per request.
        prompts: token ids, at least one each; one may stand twice.
        tokens_per_pass: most tokens in one forward pass.
        row_length: of the packed rows.
        share: whether cells may be shared.
    """
    assert model.decider is not None
    different = list(dict.fromkeys(prompts))
    # All tokens but the last "predict" the next, and the last one a token that nobody looks at: so the packed
    # batch says of each of them where it stands.
    sequences = [TokenizedExample(prompt[:1], (*prompt[1:], 0)) for prompt in different]
    found: dict[Prompt, RequestExperts] = {}
    for members in plan_passes(sequences, [0] * len(sequences) if share else None, tokens_per_pass):
        batch = pack_sequences(
            [sequences[index] for index in members], row_length, groups=[0] * len(members) if share else None
        ).to(model.model.device)
        requests = Requests(
            inputs=batch.model_inputs(model.model.dtype),
            cells=batch.positions,
            owner=batch.label_owner,
            count=len(members),
        )
        indices, weights = model.decider.decide_packed(requests)
        for index, places, shares in zip(members, indices.tolist(), weights.tolist(), strict=True):
            found[different[index]] = tuple(places), tuple(shares)
    return RouteExperts(by_prompt=found)


@contextmanager
def plan_cells(
    model: RoutedModel, decisions: Sequence[RequestExperts] | None, batch: Batch
) -> Iterator[None]:
    """Within this context each cell of a packed batch goes the way of the sequences that hold it.

    Args:
        model: the model.
        decisions: of each packed sequence, the same for all that share a cell; None for no plan.
        batch: the batch, on the model's device.
    """
    if decisions is None:
        yield
        return
    with model.stack.planned(*_stack(decisions), _combine_of(model), rows=batch.owner):
        yield


def plan_rows(model: RoutedModel, decisions: Sequence[RequestExperts] | None) -> AbstractContextManager[None]:
    """Within this context each sequence of a batch goes the way decided for it; None for no plan."""
    if decisions is None:
        return nullcontext()
    return model.stack.planned(*_stack(decisions), _combine_of(model))


def _combine_of(model: RoutedModel) -> str:
    _, _, combine = model.routing
    return combine


def _stack(decisions: Sequence[RequestExperts]) -> tuple[torch.Tensor, torch.Tensor]:
    indices, weights = zip(*decisions, strict=True)
    return torch.tensor(indices), torch.tensor(weights)
