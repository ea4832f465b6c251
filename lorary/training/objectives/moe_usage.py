"""How evenly a mixture of experts uses its experts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lorary.passes import score_pass
from lorary.passes.split import Pass
from lorary.training.objectives.moe import MoeExperts
from lorary.training.objectives.moe_sums import LayerSums


@dataclass(frozen=True)
class MoeUsage:
    """The use of the routed experts on some examples. Every token gets the experts that it chooses: none
    is dropped, however many choose the same expert."""

    shares: Mapping[str, Mapping[str, float]]
    """Module path -> expert -> the share of all choices of tokens that are this expert; they sum to 1."""
    entropy: Mapping[str, float]
    """Module path -> entropy of these shares in nats; log E for an even use of E experts."""
    token_entropy: Mapping[str, float]
    """Module path -> mean entropy of a token's own weights in nats; 0 if one expert has all the weight."""
    num_tokens: int
    """Number of tokens, those of shared prefixes once for each example."""

    def average(self) -> dict[str, float]:
        """Return each expert's share, averaged over modules."""
        rows = list(self.shares.values())
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        return {
            "num_tokens": self.num_tokens,
            "num_dropped": 0,
            "shares": self.average(),
            "layers": {
                path: {
                    "shares": dict(self.shares[path]),
                    "entropy": self.entropy[path],
                    "token_entropy": self.token_entropy[path],
                }
                for path in self.shares
            },
        }


@torch.no_grad()
def measure_usage(objective: MoeExperts, passes: Iterable[Pass]) -> MoeUsage:
    """Measure the use of experts with the objective's current values, without noise."""
    found: dict[str, list[LayerSums]] = {}
    num_tokens = 0
    for part in passes:
        chooser = objective.make_chooser(part, watches=True)
        score_pass(objective.stack, part, chooser)
        num_tokens += int(part.batch.uses.sum())
        num_tokens += 0 if part.batch.decoder_uses is None else int(part.batch.decoder_uses.sum())
        for path, sums in chooser.sums.items():
            found.setdefault(path, []).extend(sums)
    names = objective.form.experts
    totals = {path: torch.stack([part.usage for part in sums]).sum(0).cpu() for path, sums in found.items()}
    shares = {path: total / total.sum() for path, total in totals.items()}
    return MoeUsage(
        {path: dict(zip(names, own.tolist(), strict=True)) for path, own in shares.items()},
        {path: _entropy(own) for path, own in shares.items()},
        {
            path: float(sum(part.entropy for part in sums) / sum(part.num_tokens for part in sums))
            for path, sums in found.items()
        },
        num_tokens,
    )


def _entropy(shares: Tensor) -> float:
    return float(-torch.xlogy(shares, shares).sum())
