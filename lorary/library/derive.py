"""Computing the artifacts that are not stored yet, a batch of experts at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.files import quote
from lorary.library.artifact_file import Artifact
from lorary.library.artifacts import ArtifactStore

# What was computed is stored after each batch, so that an interruption loses no more than one.
BATCH_SIZE = 64

Compute = Callable[[Mapping[str, Expert]], Mapping[str, Mapping[str, Tensor]]]
IsSound = Callable[[str, Mapping[str, Tensor]], bool]
"""Expert's name, its stored tensors -> whether they may be used."""


class Selection(Mapping[str, Expert]):
    """Some of the experts of a mapping, each read when it is asked for."""

    def __init__(self, experts: Mapping[str, Expert], names: Sequence[str]):
        self._experts = experts
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Expert:
        if name not in self._names:
            raise KeyError(name)
        return self._experts[name]

    def __contains__(self, name: object) -> bool:
        # A mapping's own way to find out is to read the expert.
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def derive_artifacts(
    store: ArtifactStore,
    experts: Mapping[str, Expert],
    names: Sequence[str],
    hash_weights: Callable[[Sequence[str]], dict[str, str]],
    compute: Compute,
    is_sound: IsSound,
) -> dict[str, Artifact]:
    """Return an artifact for each name, computing and storing those that are missing.

    Args:
        store: where the artifacts of one algorithm and its parameters are.
        experts: where ``compute`` gets its experts from.
        names: the experts to return artifacts of.
        hash_weights: names -> the hashes of their weights files as they are now.
        compute: some experts -> for each of them, named tensors.
        is_sound: what is stored and is not, counts as missing.

    Raises:
        LibraryError: if an expert is replaced meanwhile, or the results can't be written.
        ValueError: if ``compute`` doesn't return exactly the experts it was given.
    """
    hashes = hash_weights(names)
    known = {digest: store.load(digest) for digest in set(hashes.values())}
    named = {hashes[name]: name for name in names}
    found = {
        digest: artifact
        for digest, artifact in known.items()
        if artifact is not None and is_sound(named[digest], artifact)
    }
    # Experts with the same weights, such as copies, share an artifact: one name stands for all.
    missing = list({hashes[name]: name for name in names if hashes[name] not in found}.values())
    for start in range(0, len(missing), BATCH_SIZE):
        batch = missing[start : start + BATCH_SIZE]
        computed = _compute_batch(experts, batch, compute)
        _require_unchanged(batch, hashes, hash_weights(batch))
        artifacts = {hashes[name]: dict(computed[name]) for name in batch}
        store.save(artifacts)
        found |= artifacts
    return {name: found[hashes[name]] for name in names}


def _compute_batch(
    experts: Mapping[str, Expert], batch: Sequence[str], compute: Compute
) -> Mapping[str, Mapping[str, Tensor]]:
    computed = compute(Selection(experts, batch))
    if computed.keys() != set(batch):
        raise ValueError(
            "compute must return exactly the experts it was given, "
            f"{quote(sorted(batch))}, got {quote(sorted(computed))}"
        )
    return computed


def _require_unchanged(batch: Sequence[str], before: Mapping[str, str], after: Mapping[str, str]) -> None:
    changed = [name for name in batch if before[name] != after[name]]
    if changed:
        raise LibraryError(
            f"expert {changed[0]!r} was replaced while something was computed from it: start again; "
            "what was finished before is kept"
        )
