"""HiLoRA: a request uses the experts whose tasks make it most likely, a token their most active components.

Shape letters: T tokens, B requests, E experts, R rank, I layer input, O layer output, K experts kept per
request.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.routing.calibrated import average_layers, compute_readings
from lorary.routing.component_plan import ComponentPlan
from lorary.routing.configs.checks import check_choice, check_top_k, resolve_top_k
from lorary.routing.configs.hilora import DEFAULT_TOP_K, HiloraConfig
from lorary.routing.contract import Chooser
from lorary.routing.material import RequestMaterial
from lorary.routing.top_k import keep_top_k

SMALLEST_SHARE = 0.01
"""Smallest deviation of a component's values, as a share of their root mean square over the expert's own
tokens: otherwise a component with the same value for all of them would make any other token impossible."""


def component_likelihoods(readings: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """Compute the log-likelihood of tokens under Gaussians of each expert's components.

    It is relative to that of the most likely token, so that it does not depend on how an expert's output is
    divided between ``a`` and ``b``: the mean over components of ``-½ ((a x - mean) / deviation)²``.

    Args:
        readings: ``a x``, ``[T, E, R]``.
        means: of the readings over the expert's own tokens, ``[E, R]``.
        deviations: their standard deviations, ``[E, R]``; components with 0 for both are left out.

    Returns:
        ``[T, E]`` in float32, at most 0; 0 for an expert without components.

    Source: HiLoRA, arXiv:2510.12266, where the Gaussians are of a sentence encoder's embeddings.
    """
    size = (means.square() + deviations.square()).sqrt()  # [E, R]
    has = size > 0
    scale = torch.where(has, deviations.maximum(SMALLEST_SHARE * size), 1.0)
    squares = ((readings.float() - means) / scale).square().masked_fill(~has, 0.0)
    return -0.5 * squares.sum(-1) / has.sum(-1).clamp_min(1)


class HiloraRouter:
    """A ``RequestRouter`` by likelihoods of a request, with the components of its experts chosen per token.

    Args:
        a: module path -> down-projections, ``[E, R, I]``; not copied.
        b: module path -> up-projections, ``[E, O, R]``; not copied.
        components: module path -> mean and deviation of each component's readings, ``[E, R]`` each; zeros if
            an expert lacks the layer.
        places: the layers whose inputs are read.
        top_k: K, the number of experts that each request keeps.
        temperature: divides the log-likelihoods before the softmax.
        share: components per token and layer, as a share of those of all K experts.

    Raises:
        ValueError: if an option is out of range.
    """

    skips_first = True
    last_share = 0.0
    COMBINES = ("outputs",)

    def __init__(
        self,
        a: Mapping[str, Tensor],
        b: Mapping[str, Tensor],
        components: Mapping[str, tuple[Tensor, Tensor]],
        places: tuple[str, ...],
        *,
        top_k: int,
        temperature: float = 0.05,
        share: float = 0.4,
    ):
        check_top_k(top_k, len(next(iter(a.values()))))
        check_choice(temperature, None)
        self.places = places
        self.top_k, self.temperature, self.share = top_k, temperature, share
        self._a = dict(a)
        self._lengths = {path: torch.linalg.vector_norm(rows.float(), dim=1) for path, rows in b.items()}
        self._components = dict(components)
        self._has = {
            path: (mean != 0).any(1) | (size != 0).any(1) for path, (mean, size) in components.items()
        }

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Return the log-likelihoods of tokens ``[T, I]``, ``[T, E]``."""
        return component_likelihoods(compute_readings(x, self._a[place]), *self._components[place])

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: module path -> mean log-likelihoods of each request's tokens, ``[B, E]``.

        Returns:
            Indices ``[B, K]`` int64 and shares ``[B, K]`` float32. An expert without readings comes last.
        """
        scores = average_layers(averages, {path: self._has[path] for path in averages})
        known = torch.stack([self._has[path].to(scores.device) for path in averages]).any(0)
        scores = scores.masked_fill(~known, torch.finfo(torch.float32).min)
        return keep_top_k(scores, self.top_k, self.temperature)

    def refine(self, indices: Tensor, weights: Tensor, combine: str) -> Chooser:
        """Make the chooser of requests, which chooses components for each token; see ``RefiningRouter``."""
        return ComponentPlan(indices, weights, self._a, self._lengths, self.share)

    def find_group(self, path: str) -> int:
        """Return 0: a request's experts are the same at all layers."""
        return 0


def build_hilora(config: HiloraConfig, material: RequestMaterial) -> HiloraRouter:
    """Build a model's HiLoRA router.

    Raises:
        ValueError: if the material lacks factors or readings of components, or has fewer experts than
            ``top_k``.
    """
    places = material.list_places()
    if not places:
        raise ValueError(
            "this router needs a layer with experts that reads every token of a prompt, found none"
        )
    components = {
        path: layer.take("components").float().unflatten(-1, (2, -1)).unbind(1)
        for path, layer in material.layers.items()
    }
    return HiloraRouter(
        {path: layer.take("a") for path, layer in material.layers.items()},
        {path: layer.take("b") for path, layer in material.layers.items()},
        {path: (means, deviations) for path, (means, deviations) in components.items()},
        places,
        top_k=resolve_top_k(config.top_k, material.num_experts, DEFAULT_TOP_K),
        temperature=config.temperature,
        share=config.share,
    )
