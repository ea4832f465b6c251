"""Facts of several experts together, such as a trained router: one artifact instead of one for each expert.

E experts that a router may choose.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from lorary.facts.fact import Context, Fact
from lorary.facts.soundness import Artifact
from lorary.models import ExpertStack


class Joint(Protocol):
    """What a fact of several experts together can do; see ``Fact.joint``."""

    def load(self, context: Context, names: Sequence[str]) -> Artifact:
        """Return the artifact that was stored for some of these experts.

        Raises:
            ValueError: if there is none, or several; the message says what to do.
        """
        ...

    def take(self, stack: ExpertStack, names: Sequence[str], tensors: Mapping[str, Tensor]) -> Artifact:
        """Check a given artifact.

        Raises:
            ValueError: if it does not fit the model.
            UnknownExpert: if it has an expert that is not among the names.
        """
        ...

    def list_experts(self, artifact: Artifact) -> Sequence[str]:
        """Return the names of its experts."""
        ...

    def append(self, context: Context, artifact: Artifact, name: str) -> Artifact:
        """Return the artifact with one more expert, which ``context.experts`` has; the rest is unchanged.

        Raises:
            ValueError: if that is not possible; the message has the reason.
        """
        ...

    def check_append(self, artifact: Artifact, name: str) -> None:
        """Refuse what ``append`` would refuse, before the expert is on the model."""
        ...

    def leave_out(self, artifact: Artifact, names: Sequence[str]) -> Artifact:
        """Return the artifact without some experts.

        Raises:
            ValueError: if that is not possible; the message has the reason.
        """
        ...


class JointFacts:
    """The artifacts of several experts together on one model: given ones, and those of the library."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[Joint, Artifact]] = {}
        # (fact, its options as JSON) -> artifact
        self._loaded: dict[tuple[str, str], tuple[Joint, Artifact]] = {}

    def give(self, fact: Fact, artifact: Artifact) -> None:
        """Keep an artifact, which replaces one given before and has precedence over stored ones."""
        assert fact.joint is not None
        self._given[fact.name] = fact.joint, artifact

    def find(self, fact: Fact, context: Context, names: Sequence[str], added: Context) -> Artifact:
        """Return the artifact, with all experts that were added to the model.

        Args:
            fact: the fact.
            context: of the experts that the model was loaded with.
            names: all experts that a router may choose.
            added: of the experts that were added since.

        Raises:
            ValueError: if there is none, or an added expert cannot be in it.
        """
        joint = fact.joint
        assert joint is not None
        key = fact.name, json.dumps(dict(context.options), sort_keys=True)
        held = self._given.get(fact.name) or self._loaded.get(key)
        before = [name for name in names if name not in added.experts]
        artifact = joint.load(context, before) if held is None else held[1]
        for name in names:
            if name in added.experts and name not in joint.list_experts(artifact):
                artifact = joint.append(added, artifact, name)
        if fact.name in self._given:
            self._given[fact.name] = joint, artifact
        else:
            self._loaded[key] = joint, artifact
        return artifact

    def check(self, fact: Fact, before: Sequence[str], names: Sequence[str]) -> None:
        """Refuse a change of the experts that the fact's artifact cannot follow.

        Args:
            fact: a fact that the current router is built from.
            before: the experts that a router may choose now.
            names: those that it will choose from.

        Raises:
            ValueError: with the reason.
        """
        held = [self._given[fact.name]] if fact.name in self._given else []
        held = held or [pair for (name, _), pair in self._loaded.items() if name == fact.name]
        for joint, artifact in held:
            known = joint.list_experts(artifact)
            joint.leave_out(artifact, [name for name in known if name in before and name not in names])
            for name in names:
                if name not in before and name not in known:
                    joint.check_append(artifact, name)

    def remove(self, name: str) -> None:
        """Remove an expert from all artifacts; an artifact that is invalid without it is dropped."""
        for held in (self._given, self._loaded):
            for key, (joint, artifact) in list(held.items()):
                if name not in joint.list_experts(artifact):
                    continue
                try:
                    held[key] = joint, joint.leave_out(artifact, [name])  # type: ignore[index]
                except ValueError:
                    del held[key]  # type: ignore[arg-type]

    def list_tensors(self) -> dict[str, Tensor]:
        """List the tensors of all artifacts by ``FACT/TENSOR``: given ones, and else the first loaded one."""
        found = {name: artifact for name, (_, artifact) in self._given.items()}
        for (name, _), (_, artifact) in self._loaded.items():
            found.setdefault(name, artifact)
        return {
            f"{name}/{key}": tensor for name, artifact in found.items() for key, tensor in artifact.items()
        }
