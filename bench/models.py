"""What is measured: the base model, and random experts for it.

R rank, I layer input, O layer output.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from bench.options import Options
from lorary import BaseModel, Expert, Factors, Library, load_base, write_peft
from lorary.models import ExpertStack, find_layers, layer_shape
from lorary.models.attach import attach_slots
from lorary.routing.arrow import ArrowRouter

RANK = 8
TOP_K = 4
FLAT = 1.0
DECAYING = 0.7


def load_bench_base(base: str, dtype: torch.dtype) -> BaseModel:
    """Load the base model on the CPU."""
    return load_base(base, dtype=dtype, device="cpu")


def draw_expert(
    name: str, base: BaseModel, *, seed: int, decay: float, dtype: torch.dtype, num_layers: int | None = None
) -> Expert:
    """Draw a random expert of rank 8 on all linear layers.

    Args:
        name: the expert's.
        base: the model it is for.
        seed: of the draw.
        decay: ratio of each singular value to the one before it: 1 makes them nearly equal, the hard case for
            finding the first.
        dtype: of its factors.
        num_layers: the number of layers to use; None for all.
    """
    generator = torch.Generator().manual_seed(seed)
    # 0.3: changes of the size of trained ones, so that activations are as in real use.
    strengths = 0.3 * decay ** torch.arange(RANK)
    factors = {}
    for path, layer in list(find_layers(base.model, "all-linear").items())[:num_layers]:
        width_in, width_out = layer_shape(layer)
        a = torch.randn(RANK, width_in, generator=generator) / width_in**0.5
        b = torch.randn(width_out, RANK, generator=generator) / width_out**0.5 * strengths
        factors[path] = Factors(a.to(dtype), b.to(dtype))
    return Expert(name, base.name, factors)


def write_library(options: Options, base: BaseModel, num_experts: int) -> Path:
    """Return a new folder with this many experts: a library, and the adapter folders of PEFT.

    An expert is drawn when it is first needed; libraries hold hard links to its files.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"library-{num_experts}-", dir=options.scratch))
    store = options.scratch / "experts"
    for index in range(num_experts):
        name = f"expert-{index:03d}"
        if not (store / name).is_dir():
            expert = draw_expert(name, base, seed=index, decay=DECAYING, dtype=options.torch_dtype)
            write_peft(expert, store / name)
        shutil.copytree(store / name, folder / name, copy_function=os.link)
    Library.open(folder, create=True)
    return folder


def list_experts(folder: Path) -> list[str]:
    """List the folders of a library's experts, for PEFT."""
    return [str(folder / name) for name in Library.open(folder)]


@contextmanager
def attach_random(
    model: PreTrainedModel, num_experts: int, rank: int, top_k: int, *, seed: int, first_rank: int = 0
) -> Iterator[tuple[ExpertStack, dict[str, ArrowRouter]]]:
    """Within this context random experts are on all linear layers; yields them, and routers not set yet.

    Args:
        model: the base model, on any device.
        num_experts: E.
        rank: R, of each.
        top_k: K, at most.
        seed: of the draw.
        first_rank: of the first expert, if it is above that of all others.
    """
    device = model.device
    generator = torch.Generator(device).manual_seed(seed)
    widest = max(rank, first_rank)
    stack = attach_slots(model, find_layers(model, "all-linear"), num_experts, widest)
    routers = {}
    for path, layer in stack.layers.items():
        dtype = layer.base.weight.dtype
        for part in (layer.a, layer.b_t):
            part.data = torch.randn(part.shape, generator=generator, device=device).mul_(0.02).to(dtype)
            part.data[1:, rank:] = 0
        layer.note_ranks([widest] + [rank] * (num_experts - 1))
        rows = torch.randn(num_experts, layer.a.shape[2], generator=generator, device=device)
        rows = torch.nn.functional.normalize(rows, dim=-1).to(dtype)
        routers[path] = ArrowRouter(rows, top_k=min(top_k, num_experts))
    try:
        yield stack, routers
    finally:
        stack.detach()
