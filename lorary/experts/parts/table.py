"""The table of kinds of parts."""

from lorary.experts.parts.added_bias import AddedBiasPart
from lorary.experts.parts.contract import Part
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.embedding import EmbeddingPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.soft_prompt import SoftPromptPart
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.tokens import TokensPart
from lorary.experts.parts.whole import WholePart

_ALL: tuple[type[Part], ...] = (
    # In the order in which they change a module: DoRA's magnitudes are those of the weight after the other
    # changes.
    WholePart,
    EmbeddingPart,
    SparsePart,
    DoraPart,
    Ia3Part,
    AddedBiasPart,
    TokensPart,
    SoftPromptPart,
)
KINDS: dict[str, type[Part]] = {kind.kind: kind for kind in _ALL}
"""Name of a kind -> its class, in the order in which parts change a module."""
