"""LoGo: a request uses the experts with the largest outputs at its last token, in proportion to these.

Shape letters: P tokens, B requests, E experts, R rank, I layer input, O layer output, K experts kept per
request.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.errors import suggest
from lorary.files import quote
from lorary.routing.blocks import find_block, list_blocks
from lorary.routing.configs.checks import check_top_k, resolve_top_k
from lorary.routing.configs.logo import DEFAULT_TOP_K, LogoConfig, Measure
from lorary.routing.material import RequestMaterial
from lorary.routing.request import Runs
from lorary.routing.spectr import compute_norm_roots, spectr_scores

SMALLEST_ENTROPY = 1e-6
"""Added to entropies before they are inverted, as in the published code."""


def inverse_entropies(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Compute the inverse entropy of a softmax over each expert's output.

    Args:
        x: layer inputs, ``[P, I]``.
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``.

    Returns:
        ``[P, E]`` in float32.
    """
    found = []
    for down, up in zip(a, b, strict=True):  # an output of all experts at once would be [P, E, O]
        shares = (x.float() @ down.float().T @ up.float().T).softmax(-1)
        found.append(1 / (torch.special.entr(shares).sum(-1) + SMALLEST_ENTROPY))
    return torch.stack(found, -1)


def mix_by_scores(scores: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Keep the best experts, with weights in proportion to their scores.

    Args:
        scores: ``[B, E]``, at least 0; a NaN counts as 0.
        top_k: K, the number of experts to keep.

    Returns:
        Indices ``[B, K]`` int64, best first, and weights ``[B, K]`` float32 with sum 1. If all scores are 0,
        weights are equal.
    """
    kept, indices = torch.nan_to_num(scores.float(), nan=0.0).topk(top_k, dim=-1)
    total = kept.sum(-1, keepdim=True)
    return indices, torch.where(total > 0, kept / total.clamp_min(1e-30), 1 / top_k)


class LogoRouter:
    """A ``RequestRouter`` by the experts' outputs at one layer, for the prompt's last token.

    Args:
        place: module path of the layer.
        a: its down-projections, ``[E, R, I]``; not copied.
        b: its up-projections, ``[E, O, R]``; not copied.
        top_k: K, the number of experts that each request keeps.
        measure: ``norm`` or ``entropy``.
        runs: how the prompt is read.

    Raises:
        ValueError: if ``top_k`` is out of range, or a weight is not finite.

    Source: LoGo, arXiv:2511.07129.
    """

    skips_first = False
    last_share = 1.0

    def __init__(
        self,
        place: str,
        a: Tensor,
        b: Tensor,
        *,
        top_k: int,
        measure: Measure = "norm",
        runs: Runs = Runs.TOGETHER,
    ):
        check_top_k(top_k, len(a))
        self.places = (place,)
        self.num_experts = len(a)
        self.runs = runs
        self.top_k, self.measure = top_k, measure
        self._a, self._b = a, b
        self._roots = compute_norm_roots(b)

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Return the experts' scores ``[P, E]`` for tokens ``[P, I]``."""
        if self.measure == "entropy":
            return inverse_entropies(x, self._a, self._b)
        return spectr_scores(x, self._a, self._roots)

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: the place -> scores ``[B, E]``; or ``[B, 1 + E, E]`` of the runs without experts and
                with each one, if each expert is scored in its own run.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32.
        """
        scores = averages[self.places[0]]
        if self.runs is Runs.EACH:
            scores = scores[:, 1:].diagonal(dim1=1, dim2=2)
        return mix_by_scores(scores, self.top_k)


def build_logo(config: LogoConfig, material: RequestMaterial) -> LogoRouter:
    """Build a model's LoGo router.

    Raises:
        ValueError: if the material lacks factors, has no layer of that path, or has fewer experts than
            ``top_k``.
    """
    place = _find_place(config.place, material)
    layer = material.layers[place]
    return LogoRouter(
        place,
        layer.take("a"),
        layer.take("b"),
        top_k=resolve_top_k(config.top_k, material.num_experts, DEFAULT_TOP_K),
        measure=config.measure,
        runs=Runs(config.runs),
    )


def _find_place(asked: str | None, material: RequestMaterial) -> str:
    places = material.list_places()
    if not places:
        raise ValueError(
            "this router needs a layer with experts that reads every token of a prompt, found none"
        )
    if asked is None:
        blocks = list_blocks(places)
        return next((path for path in places if blocks and find_block(path) == blocks[-1]), places[-1])
    if asked not in places:
        raise ValueError(
            f"place must be a layer with experts that reads every token of a prompt, found {quote(asked)}: "
            f"{suggest(asked[:200], places)}"
        )
    return asked
