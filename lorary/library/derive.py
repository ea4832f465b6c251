"""Computing missing artifacts, one batch of experts at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.files import quote
from lorary.library.artifact_file import Artifact
from lorary.library.key import Key

# Artifacts are stored after each batch, so that an interruption loses one batch at most.
BATCH_SIZE = 64

Compute = Callable[[Mapping[str, Expert]], Mapping[str, Mapping[str, Tensor]]]
"""Function from some experts to named tensors of each."""
IsSound = Callable[[str, Mapping[str, Tensor]], bool]
"""Function of an expert's name and its stored tensors: whether they may be used."""


class ArtifactStore(Protocol):
    """A store of artifacts: a library, or the cache folder of this machine."""

    def load(self, key: Key) -> Artifact | None:
        """Return an artifact; ``None`` if it is missing or damaged."""
        ...

    def save_all(self, artifacts: Mapping[Key, Mapping[str, Tensor]]) -> None:
        """Store artifacts."""
        ...


class Selection(Mapping[str, Expert]):
    """Some experts of a mapping, each read when it is accessed."""

    def __init__(self, experts: Mapping[str, Expert], names: Sequence[str]):
        self._experts = experts
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Expert:
        if name not in self._names:
            raise KeyError(name)
        return self._experts[name]

    def __contains__(self, name: object) -> bool:
        # The inherited method would read the expert.
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def derive_artifacts(
    store: ArtifactStore,
    experts: Mapping[str, Expert],
    names: Sequence[str],
    make_keys: Callable[[Sequence[str]], Mapping[str, Key]],
    compute: Compute,
    is_sound: IsSound,
) -> dict[str, Artifact]:
    """Return an artifact of each named expert; missing ones are computed and stored.

    Args:
        store: the store of artifacts.
        experts: the mapping from which ``compute`` gets its experts.
        names: the experts.
        make_keys: function from names to the keys of their artifacts, by the experts' current content.
        compute: function from some experts to named tensors of each.
        is_sound: checks a stored artifact; one that fails counts as missing.

    Raises:
        LibraryError: if an expert is replaced in the meantime, or the results cannot be written.
        ValueError: if ``compute`` does not return tensors of exactly the experts that it was given.
    """
    keys = make_keys(names)
    named = {keys[name]: name for name in names}
    known = {key: store.load(key) for key in named}
    found = {
        key: artifact
        for key, artifact in known.items()
        if artifact is not None and is_sound(named[key], artifact)
    }
    # Experts with equal content, such as copies, share an artifact, which is computed for one of them.
    missing = list({keys[name]: name for name in names if keys[name] not in found}.values())
    for start in range(0, len(missing), BATCH_SIZE):
        batch = missing[start : start + BATCH_SIZE]
        computed = _compute_batch(experts, batch, compute)
        _require_unchanged(batch, keys, make_keys(batch))
        artifacts = {keys[name]: dict(computed[name]) for name in batch}
        store.save_all(artifacts)
        found |= artifacts
    return {name: found[keys[name]] for name in names}


def _compute_batch(
    experts: Mapping[str, Expert], batch: Sequence[str], compute: Compute
) -> Mapping[str, Mapping[str, Tensor]]:
    computed = compute(Selection(experts, batch))
    if computed.keys() != set(batch):
        raise ValueError(
            "compute must return exactly the experts that it was given, "
            f"{quote(sorted(batch))}, found {quote(sorted(computed))}"
        )
    return computed


def _require_unchanged(batch: Sequence[str], before: Mapping[str, Key], after: Mapping[str, Key]) -> None:
    changed = [name for name in batch if before[name] != after[name]]
    if changed:
        raise LibraryError(
            f"expert {changed[0]!r} was replaced while an artifact of it was computed: start again; "
            "artifacts that were stored before are kept"
        )
