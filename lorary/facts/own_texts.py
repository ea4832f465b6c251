"""Running texts of experts' own tasks, each with its own expert, and passing on the inputs of each layer.

N tokens of a pass, I layer input, B sequences of a pass, L their length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lorary.data import TokenizedExample
from lorary.models import ExpertStack, select_positions
from lorary.models.architecture import NO_LABEL, is_encoder_decoder, shift_right
from lorary.models.called import find_reading_layers
from lorary.models.capture import capture_inputs

OwnText = Sequence[int] | TokenizedExample
"""Token ids of a text; if the base model has an encoder and a decoder, a prompt with its target."""
Sequences = Sequence[OwnText]
Receive = Callable[[str, Tensor, Tensor], None]
"""Called with a module path, the expert's number of each token ``[N]``, and the inputs ``[N, I]``."""


@torch.no_grad()
def read_own_texts(
    stack: ExpertStack, texts: Mapping[str, Sequences], receive: Receive, *, tokens_per_pass: int = 2048
) -> None:
    """Run every text through the base model with its own expert switched on, as in the expert's training.

    Args:
        stack: the experts on the model.
        texts: expert -> token ids of texts of its own task.
        receive: called once per layer and pass; experts are numbered in the order of ``texts``.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.

    Raises:
        ValueError: if an expert has no tokens, or a text is of the other kind than the base model needs.
        UnknownExpert: if an expert is not on the model.
    """
    run = _run_pairs if is_encoder_decoder(stack.model) else _run_pass
    for name, own in texts.items():
        stack.index(name)
        if not own or not all(own):
            raise ValueError(f"expert {name!r} needs at least one text, of at least one token each")
        if any(isinstance(text, TokenizedExample) is not (run is _run_pairs) for text in own):
            needed = "examples with prompt and target" if run is _run_pairs else "token ids"
            raise ValueError(
                f"expert {name!r}: texts must be {needed} for {type(stack.model).__name__}, found others"
            )
    names = list(texts)
    rows = [(row, ids) for row, name in enumerate(names) for ids in texts[name]]
    rows.sort(key=lambda text: len(text[1]))
    with stack.in_use():
        for part in _cut_passes(rows, tokens_per_pass):
            run(stack, names, part, receive)


def _cut_passes(texts: Sequence[tuple[int, OwnText]], tokens_per_pass: int) -> list[list[tuple[int, Any]]]:
    """Cut texts, sorted by length, into passes of at most ``tokens_per_pass`` tokens, padding included."""
    passes: list[list[tuple[int, Any]]] = []
    for text in texts:
        if not passes or (len(passes[-1]) + 1) * len(text[1]) > tokens_per_pass:
            passes.append([])
        passes[-1].append(text)
    return passes


def _run_pass(
    stack: ExpertStack, names: Sequence[str], texts: Sequence[tuple[int, Sequence[int]]], receive: Receive
) -> None:
    device = stack.model.device
    longest = max(len(ids) for _, ids in texts)
    # Padded on the right, where causal attention keeps padding from any token.
    input_ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for _, ids in texts], device=device)
    lengths = torch.tensor([len(ids) for _, ids in texts], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]  # [B, L]
    owner = torch.tensor([row for row, _ in texts], device=device).repeat_interleave(lengths)
    # Logits are not used, so they are computed at one position only.
    nowhere = torch.zeros(1, dtype=torch.long, device=device)
    with (
        stack.assign([names[row] for row, _ in texts]),
        capture_inputs(stack, mask, lambda path, x: receive(path, owner.to(x.device), x)),
        select_positions(stack.model, nowhere),
    ):
        stack.model(input_ids=input_ids, attention_mask=mask.long(), use_cache=False)


def _run_pairs(
    stack: ExpertStack,
    names: Sequence[str],
    texts: Sequence[tuple[int, TokenizedExample]],
    receive: Receive,
) -> None:
    """Run prompts through an encoder and their targets through a decoder, see ``_run_pass``."""
    device = stack.model.device
    rows = torch.tensor([row for row, _ in texts], device=device)
    prompts = _pad([example.prompt_ids for _, example in texts], device)
    targets = _pad([example.target_ids for _, example in texts], device)
    mask, decoder_mask = prompts != NO_LABEL, targets != NO_LABEL
    reading = find_reading_layers(stack.model)

    def hand_over(path: str, x: Tensor) -> None:
        counts = (mask if path in reading else decoder_mask).sum(1)
        receive(path, rows.repeat_interleave(counts).to(x.device), x)

    nowhere = torch.zeros(1, dtype=torch.long, device=device)
    with (
        stack.assign([names[row] for row, _ in texts]),
        capture_inputs(stack, mask, hand_over, decoder_mask),
        select_positions(stack.model, nowhere),
    ):
        stack.model(
            input_ids=prompts.masked_fill(~mask, 0),
            attention_mask=mask.long(),
            decoder_input_ids=shift_right(stack.model, targets),
            use_cache=False,
        )


def _pad(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    padded = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=NO_LABEL)
    return padded.to(device)
