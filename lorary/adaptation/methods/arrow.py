"""The experts with Arrow's weights on the examples, layer by layer, fine-tuned.

T tokens, E experts.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lorary.adaptation.methods.attached import attach_chosen
from lorary.adaptation.methods.contract import Context, NewTask, Start
from lorary.adaptation.methods.weighted import sum_experts
from lorary.assembly import RoutedModel
from lorary.data import TokenizedExample
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.models import select_positions
from lorary.passes import find_layout, score_pass, split_passes
from lorary.routing import Choice, Chooser
from lorary.training import TrainConfig
from lorary.training.objectives.moe_chooser import count_uses, find_decoding


@torch.no_grad()
def find_starts(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Start]:
    """Return, for each task, the exact sum of its experts with Arrow's mean weights in each layer.

    The weights are means over all tokens of the training examples, prompts and answers, while the model uses
    the router. Their sum is 1 in every layer.

    Source: Arrow, arXiv:2405.11157.
    """
    starts = {}
    for name, task in tasks.items():
        examples = task.examples.train[: context.config.num_read]
        with attach_chosen(context, list(task.chosen)) as model:
            weights = _average_weights(model, examples, context.train)
        start, _ = sum_experts(context, name, weights, "linear")
        starts[name] = Start(expert=start, weights=weights, num_tokens=sum(map(len, examples)))
    return starts


def _average_weights(
    model: RoutedModel, examples: Sequence[TokenizedExample], train: TrainConfig
) -> dict[str, dict[str, float]]:
    """Return Arrow's mean weights over all tokens: module path -> expert -> weight."""
    recorder = _MeanWeights(model.router("arrow"), len(model.names))
    run = _run_pairs if model.base.is_encoder_decoder else _run_texts
    run(model, examples, train, recorder)
    return {
        path: dict(zip(model.names, (sums / sums.sum()).tolist(), strict=True))
        for path, sums in recorder.sums.items()
    }


def _run_texts(
    model: RoutedModel, examples: Sequence[TokenizedExample], train: TrainConfig, recorder: "_MeanWeights"
) -> None:
    texts = [(*example.prompt_ids, *example.target_ids) for example in examples]
    for members in cut_passes([len(text) for text in texts], train.tokens_per_pass):
        requests = pad_prompts([texts[member] for member in members], model.device)
        rows = torch.full(requests.inputs["input_ids"].shape, -1, device=model.device)
        rows.view(-1)[requests.cells] = requests.owner
        nowhere = torch.zeros(1, dtype=torch.long, device=model.device)
        with model.stack.choosing(recorder, rows), select_positions(model.model, nowhere):
            model.model(**requests.inputs)


def _run_pairs(
    model: RoutedModel, examples: Sequence[TokenizedExample], train: TrainConfig, recorder: "_MeanWeights"
) -> None:
    """Run prompts through an encoder and their targets through a decoder."""
    stack, decoding = model.stack, find_decoding(model.stack)
    passes = split_passes(
        examples,
        [0] * len(examples),
        find_layout(stack, max(map(len, examples)), train.row_length),
        tokens_per_pass=train.tokens_per_pass,
        row_length=train.row_length,
        device=model.device,
    )
    for part in passes:
        recorder.count = lambda path, rows: count_uses(part, rows, is_decoding=path in decoding)  # noqa: B023
        score_pass(stack, part, recorder)


class _MeanWeights:
    """A chooser that adds up the weights of another one, token by token.

    Args:
        chooser: the other chooser.
        num_experts: E.
    """

    def __init__(self, chooser: Chooser, num_experts: int):
        self.sums: dict[str, Tensor] = {}
        """Module path -> sum of the weights of all tokens, ``[E]``, float64, on the CPU."""
        self.count: Callable[[str, Tensor], Tensor] = lambda path, rows: rows >= 0
        """``(module path, rows) -> [T]``, how often each token counts; 0 for padding."""
        self._chooser, self._num_experts = chooser, num_experts

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Return and record the other chooser's choice; see ``Chooser``."""
        choice = self._chooser.choose(path, x, rows)
        assert choice is not None
        spread = torch.zeros(len(x), self._num_experts, device=x.device)  # [T, E]
        spread.scatter_add_(1, choice.indices, choice.weights.float())
        own = (spread.double() * self.count(path, rows)[:, None]).sum(0).cpu()
        self.sums[path] = self.sums[path] + own if path in self.sums else own
        return choice
