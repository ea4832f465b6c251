"""The facts about the experts on one model: computed at first use, or given.

E experts that a router may choose, N experts in question, I layer input, D width of an embedding.
"""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lorary.errors import LibraryError, UnknownExpert
from lorary.experts import Expert
from lorary.facts.encoder import Encoder
from lorary.facts.fact import Context, Fact, Laid
from lorary.facts.finding import find_artifacts
from lorary.facts.given import check_given, take_rows
from lorary.facts.soundness import Artifact
from lorary.facts.table import FACTS
from lorary.library import Library
from lorary.models import BaseModel, ExpertStack


class Facts:
    """What is known about the experts on one model, by fact and expert.

    Whoever asks or gives holds ``lock``, and uses the model already (see ``ExpertStack.in_use``) if it asks.

    Args:
        base: the base model.
        stack: the experts on it.
        experts: those that a router may choose, first in the stack. The artifacts of a ``Library`` are used.
    """

    def __init__(self, base: BaseModel, stack: ExpertStack, experts: Mapping[str, Expert]):
        self.lock = threading.RLock()
        self.encoder: Encoder | None = None
        """What made the embeddings that were given; None for the base model."""
        self.carried = stack, stack.names[: len(experts)]
        """The experts on the model, and the names of those that a router may choose: exchanged together."""
        self.base = base
        self._experts = experts
        self._contents = _identify(experts, self.names)
        self._added: dict[str, Expert] = {}
        # (fact, what it depends on) -> expert -> artifact
        self._computed: dict[tuple[str, str], dict[str, Artifact]] = {}
        # fact -> expert -> artifact
        self._given: dict[str, dict[str, Artifact]] = {}

    @property
    def stack(self) -> ExpertStack:
        """The experts on the model."""
        return self.carried[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The experts that a router may choose."""
        return self.carried[1]

    def expert(self, name: str) -> Expert:
        """Give one of the experts as it was loaded or added."""
        return self._added.get(name) or self._experts[name]

    def find(self, name: str, options: Mapping[str, Any] | None = None) -> Laid:
        """Give what a fact knows of all experts that a router may choose.

        Args:
            name: a key of ``FACTS``.
            options: what it depends on besides.

        Raises:
            ValueError: if it must be given and is not; the message explains how.
            LibraryError: if the library holds another expert of a name than when the model was loaded.
        """
        fact = FACTS[name]
        context = self._make_context(self._experts, options or {})
        known = self._find_known(fact, context)
        return fact.lay_out(context, self.names, [known[expert] for expert in self.names])

    def give(
        self,
        facts: Mapping[str, Mapping[str, Tensor]],
        names: Sequence[str],
        encoder: Encoder | None = None,
    ) -> None:
        """Store given facts.

        Args:
            facts: key of ``FACTS`` -> rows: module path -> ``[N, I]``, where a layer without any gets zeros;
                or, for a fact of the output layer, expert -> ``[N, D]``, with at least one row, D being that
                of all others.
            names: the experts that rows of layers belong to.
            encoder: what made those of the output layer; None for the base model.

        Raises:
            ValueError: if a fact cannot be handed over, a path is no layer with experts, a shape is not as it
                must be, or there is an encoder without what it made.
            UnknownExpert: if a name is none of the experts'.
        """
        check_given(list(facts))
        of_output = [name for name in facts if FACTS[name].place == "output"]
        for expert in (*names, *(expert for name in of_output for expert in facts[name])):
            self.require(expert)
        if encoder is not None and not of_output:
            raise ValueError("an encoder must come with the embeddings that it made: give embeddings=... too")
        for name, rows in facts.items():
            known = self._given.get(name, {})
            self._given[name] = {**known, **take_rows(FACTS[name], self.stack, rows, names, known)}
        if of_output:
            self.encoder = encoder

    def require(self, name: str) -> None:
        """Refuse a name that no expert has which a router may choose.

        Raises:
            UnknownExpert: if it is none of theirs.
        """
        if name not in self.names:
            raise UnknownExpert(name, self.names, "this model")

    def list_given(self, names: Sequence[str]) -> dict[str, Tensor]:
        """List what was given for every expert that a router may choose.

        Args:
            names: these experts, in the order of the answer's rows.

        Returns:
            ``FACT/PATH`` -> ``[E, I]``, ``FACT/EXPERT`` -> ``[N, D]``.
        """
        context = self._make_context(self._experts, {})
        found: dict[str, Tensor] = {}
        for name, known in self._given.items():
            if all(expert in known for expert in names):
                rows = FACTS[name].lay_out(context, names, [known[expert] for expert in names])[name]
                found |= {f"{name}/{place}": tensor for place, tensor in rows.items()}
        return found

    def store(self, library: Library) -> None:
        """Put what was computed from the experts into a library of the same experts.

        Args:
            library: holds every expert that a router may choose.

        Raises:
            LibraryError: if it cannot be written.
        """
        for (name, identity), known in self._computed.items():
            algorithm = FACTS[name].algorithm
            present = [expert for expert in self.names if expert in known]
            if algorithm is None or not present:
                continue
            parameters = json.loads(identity)
            keys = library.artifacts.find_keys(algorithm, dict.fromkeys(present, parameters))
            library.artifacts.save_all({key: known[expert] for expert, key in keys.items()})

    def check(self, needs: Iterable[str], names: Sequence[str]) -> None:
        """Refuse if something that has to be given was not, for one of these experts.

        Raises:
            ValueError: naming it, and how to get it.
        """
        for fact in sorted(set(needs)):
            known = self._given.get(fact, {})
            missing = [name for name in names if name not in known]
            if FACTS[fact].needs_tasks and missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise ValueError(
                    f"this router needs the {fact} of every expert, but has none of {missing[0]!r}{more}: "
                    f"{FACTS[fact].advice}, hand them over with provide({fact}=...), then set the router"
                )

    def add(self, stack: ExpertStack, expert: Expert) -> None:
        """Take note of one more expert, after the others that a router may choose."""
        self.carried = stack, (*self.names, expert.name)
        self._added[expert.name] = expert

    def remove(self, stack: ExpertStack, name: str) -> None:
        """Forget all about an expert."""
        self.carried = stack, tuple(other for other in self.names if other != name)
        self._added.pop(name, None)
        for known in (*self._computed.values(), *self._given.values()):
            known.pop(name, None)

    def _make_context(self, experts: Mapping[str, Expert], options: Mapping[str, Any]) -> Context:
        return Context(base=self.base, stack=self.stack, experts=experts, options=options)

    def _find_known(self, fact: Fact, context: Context) -> Mapping[str, Artifact]:
        if fact.needs_tasks:
            self.check([fact.name], self.names)
            return self._given[fact.name]
        given = self._given.get(fact.name, {})
        identity = json.dumps(fact.list_parameters(context), sort_keys=True)
        known = self._computed.setdefault((fact.name, identity), {})
        for experts in (self._added, self._experts):
            missing = [
                name
                for name in self.names
                if name not in known
                and name not in given
                and (name in self._added) is (experts is self._added)
            ]
            if missing:
                if experts is self._experts:
                    self._check_unchanged(missing)
                known.update(find_artifacts(fact, self._make_context(experts, context.options), missing))
        return {**known, **given}

    def _check_unchanged(self, names: Sequence[str]) -> None:
        """Refuse experts that a library holds other contents of than when the model was loaded."""
        for name, content in _identify(self._experts, names).items():
            if content != self._contents[name]:
                raise LibraryError(
                    f"expert {name!r} in the library is not the one this model was loaded with: load the "
                    "model again"
                )


def _identify(experts: Mapping[str, Expert], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Give the hashes of what a library stores of some experts; nothing for other mappings."""
    if not isinstance(experts, Library):
        return {}
    keys = experts.artifacts.find_keys("content", {name: {} for name in names})
    return {name: key.subjects for name, key in keys.items()}
