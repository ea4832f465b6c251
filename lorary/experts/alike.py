"""Reading the factors of many experts; consecutive experts with equal layouts are read as one block.

This avoids a call per expert and module, which dominates the time for libraries of small experts.

E experts, N consecutive experts with equal layouts, R rank, I layer input, O layer output.
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

# Bytes read at once: large enough for parallel copying, small compared with the memory of the experts.
_MOST_BYTES = 2**27


class AlikeFactors(NamedTuple):
    """Factors of N consecutive experts that have the same modules and shapes."""

    where: slice
    """Indices of these experts among all."""
    pairs: Mapping[str, tuple[Tensor, Tensor]]
    """Module path -> ``a [N, R, I]`` and ``b [N, O, R]``, with the scale folded into ``b``."""


def read_alike(experts: Iterable[Expert], device: torch.device | str | None = None) -> Iterator[AlikeFactors]:
    """Read all factors of many experts, consecutive experts with equal layouts at once.

    Experts in files are read into one buffer of 128 MB (or of one expert, if it is larger), so they need no
    other memory. Factors of experts in memory are stacked.

    Args:
        experts: the experts, which are read in this order.
        device: device of the factors; None keeps the experts' device.

    Yields:
        The factors of each expert once. They can be views of the buffer, which is overwritten for the next.

    Raises:
        FormatError: if an expert's file has another SHA-256 than its ``expert.json``, or NaN or infinite
            weights.
    """
    buffer = torch.empty(0, dtype=torch.uint8)
    start = 0
    for (_, num_bytes), alike in groupby(experts, _kind):
        count = max(1, _MOST_BYTES // max(1, num_bytes))
        while some := list(islice(alike, count)):
            if buffer.numel() < len(some) * num_bytes:
                buffer = torch.empty(len(some) * num_bytes, dtype=torch.uint8)
            yield AlikeFactors(slice(start, start + len(some)), _read(some, buffer, device))
            start += len(some)


def _read(
    experts: Sequence[Expert], buffer: Tensor, device: torch.device | str | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the factors of experts with equal layouts."""
    stored = [factors for expert in experts if (factors := _in_one_block(expert)) is not None]
    pairs = _read_blocks(stored, buffer, device) if stored else None
    # With NaN or infinite values, reading each expert raises an error with the expert and module.
    return _stack_factors([expert.factors for expert in experts], device) if pairs is None else pairs


def _read_blocks(
    stored: Sequence[StoredFactors], buffer: Tensor, device: torch.device | str | None
) -> dict[str, tuple[Tensor, Tensor]] | None:
    """Read files of one layout into the buffer; return None if a value is NaN or infinite."""
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
    for path in layout.names:
        a, b = layout.take(tensors, path)
        scale = layout.scales[path]
        pairs[path] = a, fold_scale(b, scale)
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
    """Return a key that is equal for experts which can be read at once, and the bytes of each such expert."""
    stored = _in_one_block(expert)
    if stored is not None:
        return stored.layout, stored.weights.blocks[0].nbytes
    tensors = [(path, tensor) for path, pair in expert.outlines.items() for tensor in pair]
    signature = tuple((path, tensor.shape, tensor.dtype, tensor.device) for path, tensor in tensors)
    return signature, sum(tensor.nbytes for _, tensor in tensors)


def _in_one_block(expert: Expert) -> StoredFactors | None:
    """Return an expert's factors if its file has nothing else and can be read as one flat tensor."""
    factors = expert.factors
    if isinstance(factors, StoredFactors) and factors.weights.layout.dtype and not factors.layout.part_names:
        return factors
    return None
