"""Store trained experts in the library, each as soon as it is finished."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lorary.errors import LibraryError
from lorary.evaluation.run_header import describe_run
from lorary.experts import Expert, ExpertCard
from lorary.experts.roles import EXPERT
from lorary.files import quote
from lorary.library import Library


class ExpertStore:
    """The library of a run; the run itself has checked the experts that it resumed.

    Args:
        library: the library to fill.
        names: the experts to store; others of the run are in the library already.
        prompts: how examples became prompts, for the experts' cards.
        find_fault: function of a name and the card of the library's expert of that name, which describes why
            it is of another training, or returns None; None if such experts are replaced.
        role: the role of the stored experts.
        tags: keywords for their cards.
        notes: the description for their cards; empty for none.
    """

    def __init__(
        self,
        library: Library,
        names: Collection[str],
        prompts: Mapping[str, Any],
        find_fault: Callable[[str, ExpertCard], str | None] | None = None,
        *,
        role: str = EXPERT,
        tags: Sequence[str] = (),
        notes: str = "",
    ):
        self.library = library
        self.stored: dict[str, Expert] = {}
        self._names, self._prompts, self._find_fault = tuple(names), dict(prompts), find_fault
        self._role = role
        self._tags, self._notes = tuple(tags), notes

    def store(self, experts: Mapping[str, Expert]) -> None:
        """Store the experts that are not stored yet.

        Raises:
            LibraryError: if one cannot be stored, or another expert of its name came into the library while
                it was trained.
        """
        for name, expert in experts.items():
            if name in self._names and name not in self.stored:
                self._check_free(name)
                self._store(expert)

    def _check_free(self, name: str) -> None:
        if self._find_fault is None or name not in self.library:
            return
        if self._find_fault(name, self.library[name].card):
            raise LibraryError(
                f"another expert {name!r} came into library {quote(self.library.url)} while this one was "
                f"trained, and is kept: the trained one is in the run's folder, in finished/{name}; add it "
                "by `lorary library add` under another name, or run the same command with --replace"
            )

    def _store(self, expert: Expert) -> None:
        run = describe_run(seeds={}, settings={})
        provenance = {
            **expert.card.provenance,
            "prompts": self._prompts,
            "versions": run["versions"],
            "date": run["date"],
        }
        card = expert.card
        card = replace(
            card,
            provenance=provenance,
            role=self._role,
            tags=tuple(dict.fromkeys([*card.tags, *self._tags])),
            description=self._notes or card.description,
        )
        self.library[expert.name] = replace(expert, card=card)
        self.stored[expert.name] = expert
