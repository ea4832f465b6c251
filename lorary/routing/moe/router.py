"""The router of a layer in a trained mixture of experts.

Shape letters: T tokens, E experts, I layer input, K experts used per token, shared ones included, P
parameters of a layer.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lorary.errors import UnknownExpert
from lorary.routing.configs.moe import MoeRouterConfig
from lorary.routing.configs.moe_form import MoeForm, read_form
from lorary.routing.material import LayerMaterial
from lorary.routing.moe.choice import MoeChoice, choose_moe
from lorary.routing.moe.scores import MoeScores, normalise_inputs, score_moe, split_parameters
from lorary.routing.shown import show_options


class MoeRouter(nn.Module):
    """One layer's router of a trained mixture of experts.

    Its parameters stay float32 in a model of 16-bit numbers, as in training, so that close scores are not
    rounded to equal ones (Switch Transformers, arXiv:2101.03961, section 2.4).

    Args:
        form: the router's form.
        joined: the layer's parameters, joined, ``[P]``.
        names: all experts that the model's routers may choose from, in the order of the stacks.

    Raises:
        ValueError: if no layer has so many parameters.
        UnknownExpert: if an expert of the router is not among the names.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"joined": "P", "places": "E"}
    KEEPS_FLOAT32: ClassVar[bool] = True

    joined: Tensor
    places: Tensor

    def __init__(self, form: MoeForm, joined: Tensor, names: Sequence[str]):
        super().__init__()
        place_of = {name: place for place, name in enumerate(names)}
        for name in (*form.experts, *form.shared):
            if name not in place_of:
                raise UnknownExpert(name, names, "this model")
        self.form, self.width, self.num_experts = form, form.find_width(joined.numel()), len(names)
        self.register_buffer("joined", joined.detach().float())
        self.register_buffer(
            "places", torch.tensor([place_of[name] for name in (*form.experts, *form.shared)])
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        if len(self.places) != len(self.form.experts) + len(self.form.shared):
            raise ValueError("places must have one number for each expert of the router")
        parameters = split_parameters(self.form, self.joined.float(), self.width)
        scores = score_moe(self.form, parameters, normalise_inputs(x, self.form.input_norm))
        return place_choice(self.form, scores, choose_moe(self.form, scores), self.places)

    @property
    def top_k(self) -> int:
        """Experts that a token keeps."""
        return self.form.top_k

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        return show_options(self, num_experts=self.num_experts, in_features=self.width)


def place_choice(
    form: MoeForm, scores: MoeScores, choice: MoeChoice, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Turn a choice of routed experts into places in the stacks, and add the shared experts.

    Args:
        form: the router's form.
        scores: a layer's scores.
        choice: from ``choose_moe``.
        places: the places in the stacks of the routed experts, then of the shared ones.

    Returns:
        Places in the stacks ``[T, K]`` and weights ``[T, K]``.
    """
    indices, weights = places[choice.indices], choice.weights
    if not form.shared:
        return indices, weights
    always = places[len(form.experts) :].expand(len(indices), -1)
    own = weights.new_ones(always.shape) if scores.shared is None else scores.shared.sigmoid()
    return torch.cat([indices, always], 1), torch.cat([weights, own], 1)


def build_moe(config: MoeRouterConfig, material: LayerMaterial) -> MoeRouter:
    """Build one layer's router.

    Raises:
        ValueError: if the material lacks the trained router, or ``top_k`` does not suit it.
        UnknownExpert: if an expert of the router is not on the model.
    """
    config.check(material.names or ())
    form = read_form(bytes(material.take("moe_form").tolist()))
    return MoeRouter(form.keep(config.top_k), material.take("moe"), material.names or ())
