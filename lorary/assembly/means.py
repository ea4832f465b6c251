"""What experts' own task tokens look like on their way into each layer: mean activations.

N experts in question, I layer input, B sequences of a pass, L their length.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import torch
from torch import Tensor

from lorary.assembly.routed_model import RoutedModel
from lorary.assembly.task_rows import find_task_rows
from lorary.experts import Expert
from lorary.models import ExpertStack, capture_inputs, select_positions

ALGORITHM = "mean-activations-1"

Sequences = Sequence[Sequence[int]]
"""Token ids, a list per text."""


def find_means(
    model: RoutedModel,
    experts: Mapping[str, Expert],
    sequences: Mapping[str, Sequences],
    *,
    tokens_per_pass: int = 2048,
) -> dict[str, Tensor]:
    """Give each expert's mean activations; a ``Library`` keeps them, and only those it lacks are computed.

    Args:
        model: carries the experts.
        experts: where they were loaded from.
        sequences: expert -> texts of its own task.
        tokens_per_pass: see `mean_activations`.

    Returns:
        As `mean_activations`, rows in the order of ``sequences``; hand them over with ``provide(means=…)``.

    Raises:
        ValueError, UnknownExpert: as `mean_activations`.
        LibraryError: as `find_task_rows`.
    """
    # Which layers were looked at is part of what is kept: another expert may bring more of them.
    layers = sha256("\n".join(sorted(model.stack.layers)).encode()).hexdigest()[:16]
    digests = {
        name: sha256(str([list(ids) for ids in texts]).encode()).hexdigest()
        for name, texts in sequences.items()
    }

    def compute(names: Sequence[str]) -> dict[str, Tensor]:
        return mean_activations(
            model.stack, {name: sequences[name] for name in names}, tokens_per_pass=tokens_per_pass
        )

    return find_task_rows(model, experts, ALGORITHM, {"layers": layers}, digests, compute)


@torch.no_grad()
def mean_activations(
    stack: ExpertStack, sequences: Mapping[str, Sequences], *, tokens_per_pass: int = 2048
) -> dict[str, Tensor]:
    """Average what goes into each layer with experts, over all tokens of an expert's texts.

    Every text is read by the base model with its own expert, which is how the expert was trained.

    Args:
        stack: the experts on the model.
        sequences: expert -> token ids of texts of its own task.
        tokens_per_pass: most tokens in one forward pass; a longer text runs alone.

    Returns:
        Module path -> means ``[N, I]``, float32, on the CPU; rows in the order of ``sequences``.

    Raises:
        ValueError: if an expert has no tokens.
        UnknownExpert: if an expert is not on the model.

    Source: average activation, a baseline of PhatGOOSE, arXiv:2402.05859.
    """
    for name, own in sequences.items():
        stack.index(name)
        if not own or not all(own):
            raise ValueError(f"expert {name!r} needs texts of at least one token each, and one text at least")
    names = list(sequences)
    texts = [(row, ids) for row, name in enumerate(names) for ids in sequences[name]]
    texts.sort(key=lambda text: len(text[1]))
    sums = {
        path: torch.zeros(len(names), layer.a.shape[2], dtype=torch.float64, device=layer.a.device)
        for path, layer in stack.layers.items()
    }
    for part in _cut_passes(texts, tokens_per_pass):
        _add_pass(stack, names, part, sums)
    counts = torch.tensor([sum(map(len, sequences[name])) for name in names], dtype=torch.float64)
    return {path: (total.cpu() / counts[:, None]).float() for path, total in sums.items()}


def _cut_passes(
    texts: Sequence[tuple[int, Sequence[int]]], tokens_per_pass: int
) -> list[list[tuple[int, Sequence[int]]]]:
    """Cut texts, sorted by length, into passes that hold so many tokens when padded."""
    passes: list[list[tuple[int, Sequence[int]]]] = []
    for text in texts:
        if not passes or (len(passes[-1]) + 1) * len(text[1]) > tokens_per_pass:
            passes.append([])
        passes[-1].append(text)
    return passes


def _add_pass(
    stack: ExpertStack,
    names: Sequence[str],
    texts: Sequence[tuple[int, Sequence[int]]],
    sums: Mapping[str, Tensor],
) -> None:
    """Run some texts, each with its own expert, and add what goes into each layer to the expert's row."""
    device = stack.model.device
    longest = max(len(ids) for _, ids in texts)
    # Padded on the right: no token sees what comes after it.
    input_ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for _, ids in texts], device=device)
    lengths = torch.tensor([len(ids) for _, ids in texts], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]  # [B, L]
    owner = torch.tensor([row for row, _ in texts], device=device).repeat_interleave(lengths)

    def add(path: str, x: Tensor) -> None:
        sums[path].index_add_(0, owner.to(x.device), x.double())

    # What comes out is not looked at: one logit is enough.
    nowhere = torch.zeros(1, dtype=torch.long, device=device)
    with (
        stack.assign([names[row] for row, _ in texts]),
        capture_inputs(stack, mask, add),
        select_positions(stack.model, nowhere),
    ):
        stack.model(input_ids=input_ids, attention_mask=mask.long(), use_cache=False)
