"""A soft prompt: virtual tokens that a model reads before a request's own tokens.

PEFT's prompt tuning and p-tuning train embeddings of virtual tokens; p-tuning's encoder has been run when the
file is written. Prefix tuning trains their keys and values at each layer.

V virtual tokens, D width of embeddings, or keys and values of all layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor

from lorary.experts.factors import Factors
from lorary.experts.parts.contract import Claim, Layer, Placement, Source, Weights
from lorary.experts.parts.fields import require_fields

if TYPE_CHECKING:
    from lorary.experts.expert import Expert

MODEL = ""
"""The module path of the whole model."""
NAME = "prompt_embeddings"
PREFIX_TUNING = "PREFIX_TUNING"


@dataclass(frozen=True, eq=False)
class SoftPromptPart:
    """Virtual tokens, as embeddings or as keys and values."""

    tokens: Tensor
    """Embeddings ``[V, D]``; or each token's keys and values, layer by layer, ``[V, layers x 2 x width]``."""
    has_states: bool = False
    """Whether they are keys and values."""

    kind: ClassVar[str] = "soft prompt"
    title: ClassVar[str] = "a soft prompt"
    peft_type: ClassVar[str | None] = None
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fields(self.tensors, {"tokens": "VD"})

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return Claim(MODEL, "tokens") if name == NAME else None

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        wanted = source.config.num_virtual_tokens
        if wanted not in (None, len(tensors["tokens"])):
            raise ValueError(
                f"num_virtual_tokens is {wanted}, but {NAME} has shape {list(tensors['tokens'].shape)}"
            )
        return cls(tensors["tokens"], source.config.peft_type == PREFIX_TUNING)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"tokens": self.tokens}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(tensors["tokens"], self.has_states)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        return {NAME: self.tokens}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``; PEFT infers the sizes of layers from the model."""
        (part,) = parts.values()
        return {
            "peft_type": PREFIX_TUNING if part.has_states else "PROMPT_TUNING",
            "num_virtual_tokens": len(part.tokens),
        }

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``; whether it fits a model is tested by ``lorary.models.prompt_trial``."""
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        raise ValueError("a plain model cannot have a soft prompt: use the expert by name instead")

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``; the model reads virtual tokens by ``lorary.models.soft_prompts``."""
        return Placement(factors, None)


def find_prompt(expert: "Expert") -> SoftPromptPart | None:
    """Return an expert's soft prompt, for its shape and dtype only; None if it has none."""
    parts = (part for part in expert.part_outlines.get(MODEL, ()) if isinstance(part, SoftPromptPart))
    return next(parts, None)
