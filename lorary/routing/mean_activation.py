"""Mean activation: a token uses the experts whose mean input on their own tasks is most similar to it.

Shape letters: T tokens, E experts, I layer input, K experts kept per token.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from lorary.routing.configs.checks import check_choice, check_top_k, resolve_top_k
from lorary.routing.configs.mean_activation import MeanActivationConfig
from lorary.routing.material import LayerMaterial
from lorary.routing.shown import show_options
from lorary.routing.top_k import keep_top_k


def mean_activation_scores(x: Tensor, means: Tensor) -> Tensor:
    """Score each expert for each token by ``x · m_e / sqrt(I)``, m being the direction of its mean input.

    Args:
        x: layer inputs, ``[T, I]``. The product is computed in their dtype.
        means: the experts' mean inputs as unit rows, ``[E, I]``.

    Returns:
        Scores ``[T, E]`` in float32.

    Source: average activation, a baseline of PhatGOOSE, arXiv:2402.05859.
    """
    return linear(x, means.to(x.dtype)).float() / x.shape[-1] ** 0.5


class MeanActivationRouter(nn.Module):
    """One layer's mean-activation router. Move it to the model's dtype, or each call converts the means.

    Args:
        means: mean inputs of any norm, ``[E, I]``; zeros give scores of 0.
        top_k: K, the number of experts that each token keeps.
        temperature: divides the scores before the softmax.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"means": "EI"}

    means: Tensor

    def __init__(self, means: Tensor, *, top_k: int, temperature: float = 1.0, abstain: float | None = None):
        super().__init__()
        check_top_k(top_k, means.shape[0])
        check_choice(temperature, abstain)
        self.register_buffer("means", normalize(means.detach().float(), dim=-1))
        self.top_k = top_k
        self.temperature = temperature
        self.abstain = abstain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        return keep_top_k(mean_activation_scores(x, self.means), self.top_k, self.temperature, self.abstain)

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        experts, inputs = self.means.shape
        return show_options(self, num_experts=experts, in_features=inputs)


def build_mean_activation(config: MeanActivationConfig, material: LayerMaterial) -> MeanActivationRouter:
    """Build one layer's mean-activation router.

    Raises:
        ValueError: if the material lacks means, or has fewer experts than ``top_k``.
    """
    return MeanActivationRouter(
        material.take("means"),
        top_k=resolve_top_k(config.top_k, material.num_experts),
        temperature=config.temperature,
        abstain=config.abstain,
    )
