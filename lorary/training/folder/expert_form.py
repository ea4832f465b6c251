"""Finished experts of a run as adapter folders, and what must hold of one that is read back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from fsspec.implementations.local import LocalFileSystem

from lorary.experts import Expert, read_peft, write_expert_files
from lorary.experts.peft_reader import read_card
from lorary.experts.stored_factors import StoredFactors
from lorary.files import quote
from lorary.training.config import TrainConfig
from lorary.training.same_training import find_training_fault

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class ExpertForm:
    """What the experts of a run must be like, see ``lorary.training.folder.finished.ProductForm``."""

    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Module path -> shapes of ``a`` and ``b``."""
    base_fingerprint: str
    """The base model's."""
    digests: Mapping[str, str]
    """Expert name -> digest of its examples."""
    config: TrainConfig
    """How the run trains."""
    files: tuple[str, ...] = (WEIGHTS, "adapter_config.json", "expert.json")

    def write(self, product: Expert) -> dict[str, bytes]:
        """Give the files of an adapter folder."""
        return write_expert_files(product)

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> Expert:
        """Read an expert that this run would have made."""
        if read_card(LocalFileSystem(), str(folder)).weights_sha256 not in (None, hashes[WEIGHTS]):
            raise ValueError(f"{WEIGHTS} is not the file that expert.json is of: its SHA-256 differs")
        expert = read_peft(str(folder))
        for fault in self._find_faults(expert, name, num_steps):
            raise ValueError(fault)
        return expert

    def _find_faults(self, expert: Expert, name: str, num_steps: int) -> Iterator[str]:
        """Say in what an expert differs from the one that this run would have made."""
        if expert.name != name:
            yield f"it is the folder of expert {quote(expert.name, 140)}, not of {name!r}"
        fault = find_training_fault(
            expert.card,
            base_fingerprint=self.base_fingerprint,
            data_digest=self.digests[name],
            config=self.config,
        )
        if fault:
            yield fault
        yield from self._find_shape_faults(expert)
        if expert.card.provenance.get("steps") != num_steps:
            yield f"its curves say {num_steps} steps, which is not when its training ended"

    def _find_shape_faults(self, expert: Expert) -> Iterator[str]:
        outlines = {
            path: (tuple(pair.a.shape), tuple(pair.b.shape)) for path, pair in expert.outlines.items()
        }
        different = sorted(
            path for path in {**outlines, **self.shapes} if outlines.get(path) != self.shapes.get(path)
        )
        if different:
            path = different[0]
            yield (
                f"{len(different)} of its modules are not this run's, such as {quote(path, 100)}: its "
                f"factors are {outlines.get(path, 'missing')}, must be {self.shapes.get(path, 'absent')}"
            )
        if any(tensor.dtype != torch.float32 for pair in expert.outlines.values() for tensor in pair):
            yield "its factors are not float32"
        # What a run writes has its scale folded in: PEFT must multiply with 1.
        if isinstance(expert.factors, StoredFactors) and any(
            s != 1 for s in expert.factors.layout.scales.values()
        ):
            yield "its adapter_config.json has another alpha than was written"
