"""Finished experts of a run: written as adapter folders, and checked when they are read back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fsspec.implementations.local import LocalFileSystem

from lorary.experts import Expert, read_peft, write_expert_files
from lorary.experts.peft_reader import read_card
from lorary.experts.stored_factors import StoredFactors
from lorary.files import quote, say_count
from lorary.training.config import TrainConfig
from lorary.training.same_training import find_training_fault

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class ExpertForm:
    """The ``ProductForm`` of a run that trains experts (see ``lorary.training.folder.finished``)."""

    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] | None
    """Module path -> shapes of ``a`` and ``b``; None for experts of any kind, as PEFT trains them."""
    base_fingerprint: str
    """The base model's fingerprint."""
    digests: Mapping[str, str]
    """Expert name -> digest of its examples."""
    config: TrainConfig
    """The run's configuration."""
    starts: Mapping[str, str] = field(default_factory=dict)
    """Expert name -> hash of the weights that its training starts from, if it has a start."""
    peft: Mapping[str, Any] | None = None
    """PEFT's configuration, as ``describe_peft_config`` describes it, if PEFT trains them."""
    on_top_of: str | None = None
    """Hash of the weights of the general expert on top of which they are trained; None for none."""
    files: tuple[str, ...] = (WEIGHTS, "adapter_config.json", "expert.json")

    def write(self, product: Expert) -> dict[str, bytes]:
        """Return the files of an adapter folder, by name."""
        return write_expert_files(product)

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> Expert:
        """Read an expert, and check that this run could have made it; see ``ProductForm``."""
        if read_card(LocalFileSystem(), str(folder)).weights_sha256 not in (None, hashes[WEIGHTS]):
            raise ValueError(f"{WEIGHTS} does not belong to this expert.json: its SHA-256 differs")
        expert = read_peft(str(folder))
        for fault in self._find_faults(expert, name, num_steps):
            raise ValueError(fault)
        return expert

    def _find_faults(self, expert: Expert, name: str, num_steps: int) -> Iterator[str]:
        """Yield the differences between an expert and what this run would have made."""
        if expert.name != name:
            yield f"its expert must be {name!r}, found {quote(expert.name, 140)}"
        fault = find_training_fault(
            expert.card,
            base_fingerprint=self.base_fingerprint,
            data_digest=self.digests[name],
            config=self.config,
            start_digest=self.starts.get(name),
            on_top_of=self.on_top_of,
        )
        if fault:
            yield fault
        if expert.card.provenance.get("peft") != self.peft:
            yield "it was trained with another PEFT configuration"
        if self.shapes is not None:
            yield from _find_shape_faults(expert, self.shapes)
        if expert.card.provenance.get("steps") != num_steps:
            yield (
                f"its curves have {say_count(num_steps, 'step')}, but its training ended after another number"
            )


def _find_shape_faults(
    expert: Expert, shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
) -> Iterator[str]:
    outlines = {path: (tuple(pair.a.shape), tuple(pair.b.shape)) for path, pair in expert.outlines.items()}
    different = sorted(path for path in {**outlines, **shapes} if outlines.get(path) != shapes.get(path))
    if different:
        path = different[0]
        yield (
            f"{say_count(len(different), 'of its module')} differ from this run's, such as "
            f"{quote(path, 100)}: the shapes of factors must be {shapes.get(path, 'absent')}, found "
            f"{outlines.get(path, 'none')}"
        )
    if expert.kinds:
        yield f"it must have low-rank factors only, found {', '.join(expert.kinds)} too"
    if any(tensor.dtype != torch.float32 for pair in expert.outlines.values() for tensor in pair):
        yield "its factors must be float32, found another dtype"
    # In a run's experts, b includes the scale, so PEFT's factor must be 1.
    if isinstance(expert.factors, StoredFactors) and any(
        s != 1 for s in expert.factors.layout.scales.values()
    ):
        yield "its adapter_config.json must have the alpha that was written, found another"
