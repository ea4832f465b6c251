"""qa-FLoRA: in each block, experts are weighed by how much they change the next-token distribution.

Shape letters: P tokens, B requests, E experts, D hidden state, V vocabulary, G blocks, K experts kept per
request.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lorary.routing.block_plan import BlockPlan
from lorary.routing.blocks import find_block, list_blocks
from lorary.routing.configs.checks import check_top_k
from lorary.routing.configs.qa_flora import QaFloraConfig
from lorary.routing.contract import Chooser
from lorary.routing.material import RequestMaterial
from lorary.routing.request import OUTPUT, Runs


def measure_divergences(logits: Tensor) -> Tensor:
    """Compute how much each expert changes the base model's next-token distribution.

    Args:
        logits: of the base model and of each expert, ``[1 + E, V]``.

    Returns:
        ``KL(base ‖ expert)``, ``[E]`` float32, at least 0; 0 for logits that are not finite.

    Source: qa-FLoRA, arXiv:2512.11366.
    """
    logs = logits.float().log_softmax(-1)
    base, experts = logs[:1], logs[1:]
    return torch.nan_to_num((base.exp() * (base - experts)).sum(-1), nan=0.0, posinf=0.0).clamp_min(0)


class QaFloraRouter:
    """A ``RequestRouter`` by the divergence of each expert from the base model after every block.

    Args:
        blocks: module paths of the blocks with experts, in their order; without blocks, only the output
            counts.
        output: the base model's output layer, hidden states ``[*, D]`` -> logits ``[*, V]``.
        num_experts: E.
        top_k: K, the number of experts that each request keeps; None for all.

    Raises:
        ValueError: if ``top_k`` is out of range.

    Source: qa-FLoRA, arXiv:2512.11366.
    """

    skips_first = False
    last_share = 1.0
    runs = Runs.EACH

    def __init__(
        self,
        blocks: Sequence[str],
        output: Callable[[Tensor], Tensor],
        num_experts: int,
        top_k: int | None = None,
    ):
        self.num_experts = num_experts
        self.top_k = num_experts if top_k is None else top_k
        check_top_k(self.top_k, num_experts)
        self._blocks = {block: number for number, block in enumerate(blocks)}
        # After the last block, the distribution is the model's own, from the input of its output layer.
        self.places = (*blocks[:-1], OUTPUT)
        self._output = output

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Return hidden states ``[P, D]`` unchanged."""
        return x

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: block, or ``OUTPUT`` for the last one -> hidden states at the last token, ``[B, 1 + E,
                D]``.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, G, K]`` float32, with sum 1 in each block.

        Raises:
            ValueError: if a block's hidden states have another width than the output layer reads.
        """
        width = averages[OUTPUT].shape[-1]
        for place, states in averages.items():
            if states.shape[-1] != width:
                raise ValueError(
                    f"this router reads hidden states of {place} by the output layer, which needs {width} "
                    f"numbers, found {states.shape[-1]}: use another router, such as 'logo'"
                )
        divergences = torch.stack([self._measure(averages[place]) for place in self.places], 1)  # [B, G, E]
        weights = _normalise(divergences)
        indices = weights.mean(1).topk(self.top_k, dim=-1).indices
        kept = divergences.gather(2, indices[:, None].expand(-1, len(self.places), -1))
        return indices, _normalise(kept)

    def refine(self, indices: Tensor, weights: Tensor, combine: str) -> Chooser:
        """Make the chooser of requests, with weights for each block; see ``RefiningRouter``."""
        return BlockPlan(indices, weights, self.find_group, combine)

    def find_group(self, path: str) -> int:
        """Return the number of a layer's block; layers outside of blocks have the weights of the last one."""
        return self._blocks.get(find_block(path) or "", len(self.places) - 1)

    def _measure(self, states: Tensor) -> Tensor:
        """Return the experts' divergences, ``[B, E]``, one request after the other: logits are large."""
        dtype = _find_dtype(self._output, states)
        return torch.stack([measure_divergences(self._output(own.to(dtype))) for own in states])


def _normalise(divergences: Tensor) -> Tensor:
    """Divide by the sum over experts; without any divergence, weights are equal."""
    total = divergences.sum(-1, keepdim=True)
    return torch.where(total > 0, divergences / total.clamp_min(1e-30), 1 / divergences.shape[-1])


def _find_dtype(output: Callable[[Tensor], Tensor], states: Tensor) -> torch.dtype:
    weight = getattr(output, "weight", states)
    return weight.dtype if weight.is_floating_point() else states.dtype


def build_qa_flora(config: QaFloraConfig, material: RequestMaterial) -> QaFloraRouter:
    """Build a model's qa-FLoRA router.

    Raises:
        ValueError: if the base model has an encoder, or there are fewer experts than ``top_k``.
    """
    if material.output is None:
        raise ValueError(
            "this router needs a base model whose output layer reads the blocks of the prompt, found none: "
            "an encoder has no next-token distribution; use another router, such as 'arrow'"
        )
    blocks = list_blocks(material.list_places())
    return QaFloraRouter(blocks, material.output, material.num_experts, config.top_k)
