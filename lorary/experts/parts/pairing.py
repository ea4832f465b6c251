"""Parts that go with low-rank factors: without factors PEFT ignores them, and it makes missing magnitudes."""

from collections.abc import Collection, Mapping

from lorary.experts.parts.added_bias import AddedBiasPart
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.embedding import EmbeddingPart
from lorary.files import quote


def find_unpaired(factors: Collection[str], parts: Mapping[str, Collection[str]]) -> str | None:
    """Return what an adapter would lose or gain in PEFT, or None; the text goes on after its name.

    Args:
        factors: paths of the modules with low-rank factors.
        parts: module path -> kinds of its parts.
    """
    with_factors = {*factors, *(path for path, kinds in parts.items() if EmbeddingPart.kind in kinds)}
    for part in (DoraPart, AddedBiasPart):
        own = {path for path, kinds in parts.items() if part.kind in kinds}
        for path in sorted(own - with_factors):
            return f"has {part.title} but no low-rank factors of {quote(path)}, where PEFT ignores them"
        if part is DoraPart and own:
            for path in sorted(set(factors) - own):
                return f"has {part.title}, but none of {quote(path)}, where PEFT would make its own"
    return None
