"""Store trained experts in the library, each as soon as it is finished."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorary.errors import LibraryError
from lorary.evaluation.run_header import describe_run
from lorary.experts import Expert
from lorary.library import Library
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.same_training import find_training_fault


class ExpertStore:
    """The library of a run; the run itself has checked the experts that it resumed.

    Args:
        library: the library to fill.
        examples: expert name -> its examples.
        prompts: how examples became prompts, for the experts' cards.
    """

    def __init__(
        self,
        library: Library,
        examples: Mapping[str, TrainingExamples],
        prompts: Mapping[str, Any],
    ):
        self.library, self.examples = library, examples
        self.stored: dict[str, Expert] = {}
        self._prompts = dict(prompts)

    def check_names(self, config: TrainConfig, fingerprint: str) -> None:
        """Refuse to replace experts of other origin: of another training run, or added by hand.

        Raises:
            LibraryError: with the first three.
        """
        cards = {entry.name: entry.card for entry in self.library.entries() if entry.name in self.examples}
        others = [
            repr(name)
            for name, card in cards.items()
            if find_training_fault(
                card,
                base_fingerprint=fingerprint,
                data_digest=self.examples[name].digest,
                config=config,
            )
        ]
        if others:
            more = ", …" if len(others) > 3 else ""
            raise LibraryError(
                f"library {self.library.url!r} already has {', '.join(others[:3])}{more} from other data or "
                "settings: add --replace to replace them, or train into another library"
            )

    def store(self, experts: Mapping[str, Expert]) -> None:
        """Store the experts that are not stored yet."""
        for name, expert in experts.items():
            if name not in self.stored:
                self._store(expert)

    def _store(self, expert: Expert) -> None:
        run = describe_run(seeds={}, settings={})
        provenance = {
            **expert.card.provenance,
            "prompts": self._prompts,
            "versions": run["versions"],
            "date": run["date"],
        }
        self.library[expert.name] = replace(expert, card=replace(expert.card, provenance=provenance))
        self.stored[expert.name] = expert
