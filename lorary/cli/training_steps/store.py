"""Putting trained experts into the library, each as soon as it is finished."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lorary.errors import LibraryError
from lorary.experts import Expert, ExpertCard, read_peft
from lorary.library import Library
from lorary.training import TrainConfig, TrainingExamples

# How often the state is saved and how many tokens share a pass do not change what comes out.
WITHOUT_EFFECT = {"checkpoint_seconds", "tokens_per_pass"}


class ExpertStore:
    """A library and the run that fills it.

    Args:
        library: where experts go.
        run_folder: where the run leaves them.
        examples: expert name -> what it is trained on.
        prompts: how examples became prompts, for the experts' cards.
    """

    def __init__(
        self,
        library: Library,
        run_folder: Path,
        examples: Mapping[str, TrainingExamples],
        prompts: Mapping[str, Any],
    ):
        self.library, self.run_folder, self.examples = library, run_folder, examples
        self.stored: dict[str, Expert] = {}
        self._prompts = dict(prompts)

    def check_names(self, config: TrainConfig, fingerprint: str) -> None:
        """Refuse to replace experts that another training, or nobody here, has made.

        Raises:
            LibraryError: naming the first few.
        """
        cards = {entry.name: entry.card for entry in self.library.entries() if entry.name in self.examples}
        others = [
            repr(name)
            for name, card in cards.items()
            if not _is_same_training(card, self.examples[name], config, fingerprint)
        ]
        if others:
            more = ", …" if len(others) > 3 else ""
            raise LibraryError(
                f"library {self.library.url!r} has {', '.join(others[:3])}{more} already, trained otherwise: "
                "replace with --replace, or train into another library"
            )

    def store_finished(self, num_finished: int) -> None:
        """Store what the run has finished since the last time.

        Args:
            num_finished: how many experts the run says are done.
        """
        if num_finished <= len(self.stored):
            return
        for name in self.examples:
            folder = self.run_folder / "finished" / name
            if name not in self.stored and (folder / "progress.json").exists():
                self._store(read_peft(str(folder), name=name))

    def store_all(self, experts: Mapping[str, Expert]) -> None:
        """Store those that are still missing."""
        for name, expert in experts.items():
            if name not in self.stored:
                self._store(expert)

    def _store(self, expert: Expert) -> None:
        from lorary.evaluation import describe_run

        run = describe_run(seeds={}, settings={})
        provenance = {
            **expert.card.provenance,
            "prompts": self._prompts,
            "versions": run["versions"],
            "date": run["date"],
        }
        self.library[expert.name] = replace(expert, card=replace(expert.card, provenance=provenance))
        self.stored[expert.name] = expert


def _is_same_training(
    card: ExpertCard, examples: TrainingExamples, config: TrainConfig, fingerprint: str
) -> bool:
    ours = {key: value for key, value in asdict(config).items() if key not in WITHOUT_EFFECT}
    theirs = {
        key: value for key, value in card.provenance.get("training", {}).items() if key not in WITHOUT_EFFECT
    }
    is_same_data = card.provenance.get("data", {}).get("digest") == examples.digest
    return theirs == ours and is_same_data and card.base_fingerprint == fingerprint
