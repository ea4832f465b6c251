"""Reading the factors of many experts at once: those that are alike need no call per expert and module.

E experts, N of them alike, R rank, I layer input, O layer output.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.experts.expert import Expert
from lorary.experts.factors import Factors, is_finite
from lorary.experts.peft_scale import fold_scale
from lorary.experts.stored_factors import StoredFactors

# Enough that calls hardly count and threads share a layer's copying, little beside what the experts take.
_MOST_BYTES = 2**27


class AlikeFactors(NamedTuple):
    """Factors of some experts that follow each other and have the same modules and shapes."""

    where: slice
    """Which of the experts that were asked for."""
    pairs: Mapping[str, tuple[Tensor, Tensor]]
    """Module path -> ``a [N, R, I]`` and ``b [N, O, R]``, scale folded in."""


def read_alike(experts: Iterable[Expert], device: torch.device | str | None = None) -> Iterator[AlikeFactors]:
    """Read all factors of many experts, neighbours that are alike together.

    Experts that lie in files are read from there into one buffer, 128 MB or one expert at a time, and keep
    no memory for their numbers; those that hold their factors are stacked. What files hold is looked through.

    Args:
        experts: in the order in which they are read.
        device: where the factors shall be; None leaves them where they are.

    Yields:
        Each expert's factors once. They may lie in the buffer: it is filled anew for the next.

    Raises:
        FormatError: if an expert's file is not what was stored, or a number of it is NaN or infinite, naming
            it and the module.
    """
    buffer = torch.empty(0, dtype=torch.uint8)
    start = 0
    for (_, num_bytes), alike in groupby(experts, _kind):
        count = max(1, _MOST_BYTES // num_bytes)
        while some := list(islice(alike, count)):
            if buffer.numel() < len(some) * num_bytes:
                buffer = torch.empty(len(some) * num_bytes, dtype=torch.uint8)
            yield AlikeFactors(slice(start, start + len(some)), _read(some, buffer, device))
            start += len(some)


def _read(
    experts: Sequence[Expert], buffer: Tensor, device: torch.device | str | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the factors of experts of one kind."""
    stored = [factors for expert in experts if (factors := _in_one_block(expert)) is not None]
    pairs = _read_blocks(stored, buffer, device) if stored else None
    # Asking each for its factors also says what is wrong with one.
    return _stack_factors([expert.factors for expert in experts], device) if pairs is None else pairs


def _read_blocks(
    stored: Sequence[StoredFactors], buffer: Tensor, device: torch.device | str | None
) -> dict[str, tuple[Tensor, Tensor]] | None:
    """Read files of one layout into the buffer; None if a number is not finite."""
    file, layout = stored[0].weights.layout, stored[0].layout
    count, (block,) = len(stored), stored[0].weights.blocks
    numbers = buffer[: count * block.nbytes].view(block.dtype).view(count, -1)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(StoredFactors.copy_numbers, stored, numbers.unbind()))
    if not is_finite(numbers):
        return None
    parts = numbers.to(device).split([outline.numel() for outline in file.outlines.values()], dim=1)
    tensors = {
        name: part.view(count, *outline.shape)
        for part, (name, outline) in zip(parts, file.outlines.items(), strict=True)
    }
    pairs = {}
    for path, (a, b) in layout.names.items():
        scale = layout.scales[path]
        pairs[path] = tensors[a], fold_scale(tensors[b], scale)
        if scale != 1 and not is_finite(pairs[path][1]):
            return None
    return pairs


def _stack_factors(
    everyone: Sequence[Mapping[str, Factors]], device: torch.device | str | None
) -> dict[str, tuple[Tensor, Tensor]]:
    stacks = {}
    for path in everyone[0]:
        a, b = (torch.stack(tensors) for tensors in zip(*(own[path] for own in everyone), strict=True))
        stacks[path] = a.to(device), b.to(device)
    return stacks


def _kind(expert: Expert) -> tuple[Hashable, int]:
    """Give the same for experts whose factors can be read together, and how many bytes each of them has."""
    stored = _in_one_block(expert)
    if stored is not None:
        return stored.layout, stored.weights.blocks[0].nbytes
    tensors = [(path, tensor) for path, pair in expert.outlines.items() for tensor in pair]
    signature = tuple((path, tensor.shape, tensor.dtype, tensor.device) for path, tensor in tensors)
    return signature, sum(tensor.nbytes for _, tensor in tensors)


def _in_one_block(expert: Expert) -> StoredFactors | None:
    """Give an expert's factors if they lie in a file that is read as one flat tensor."""
    factors = expert.factors
    if isinstance(factors, StoredFactors) and factors.weights.layout.dtype is not None:
        return factors
    return None
