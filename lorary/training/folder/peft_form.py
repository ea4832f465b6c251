"""Finished experts of PEFT's kinds: written as adapter folders, and checked when they are read back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from lorary.experts import Expert, read_peft, write_expert_files
from lorary.experts.peft_reader import read_card
from lorary.files import quote
from lorary.training.config import TrainConfig
from lorary.training.folder.expert_form import WEIGHTS
from lorary.training.same_training import find_training_fault


@dataclass(frozen=True, kw_only=True)
class PeftForm:
    """The ``ProductForm`` of a run that trains experts by PEFT (see ``lorary.training.folder.finished``)."""

    base_fingerprint: str
    """The base model's fingerprint."""
    digests: Mapping[str, str]
    """Expert name -> digest of its examples."""
    config: TrainConfig
    """The run's configuration."""
    peft: Mapping[str, Any]
    """PEFT's configuration, as ``describe_peft_config`` describes it."""
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
        if expert.name != name:
            yield f"its expert must be {name!r}, found {quote(expert.name, 140)}"
        fault = find_training_fault(
            expert.card,
            base_fingerprint=self.base_fingerprint,
            data_digest=self.digests[name],
            config=self.config,
        )
        if fault:
            yield fault
        if expert.card.provenance.get("peft") != self.peft:
            yield "it was trained with another PEFT configuration"
        if expert.card.provenance.get("steps") != num_steps:
            yield "its curves have another number of steps than its training"
