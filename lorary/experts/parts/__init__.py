"""Parts of experts: what an expert changes of a module, besides low-rank factors, by kinds."""

from lorary.experts.parts.contract import Layer, Part, Placement
from lorary.experts.parts.low_rank_only import require_low_rank
from lorary.experts.parts.table import KINDS

__all__ = ["KINDS", "Layer", "Part", "Placement", "require_low_rank"]
