"""The scores of a mixture-of-experts router, as pure functions that training and serving share.

Shape letters: T tokens, E routed experts, S shared ones, G groups, I layer input, Q query, M rows and N
columns of a grid of product keys.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from lorary.routing.configs.checks import InputNorm
from lorary.routing.configs.moe_form import MoeForm


class MoeScores(NamedTuple):
    """A layer's scores of some tokens, float32; those that a form has no use for are None."""

    experts: Tensor | None = None
    """Of each expert, ``[T, E]``; None with product keys."""
    groups: Tensor | None = None
    """Of each group, ``[T, G]``."""
    first: Tensor | None = None
    """Of each row of the grid, ``[T, M]``."""
    second: Tensor | None = None
    """Of each column of the grid, ``[T, N]``."""
    shared: Tensor | None = None
    """Of each shared expert's gate, ``[T, S]``."""


def split_parameters(form: MoeForm, joined: Tensor, width: int) -> dict[str, Tensor]:
    """Return a layer's parameters by name, as views of one joined vector.

    Args:
        form: the router's form.
        joined: all parameters of the layer, ``[form.count(width)]``.
        width: I.
    """
    shapes = form.outline(width)
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    parts = joined.split(sizes)
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def normalise_inputs(x: Tensor, input_norm: InputNorm) -> Tensor:
    """Divide inputs ``[T, I]`` by nothing, their norm or their root mean square; float32."""
    wide = x.float()
    if input_norm == "none":
        return wide
    size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    if input_norm == "rms":
        size = size / x.shape[-1] ** 0.5
    return wide / size.clamp_min(torch.finfo(torch.float32).tiny)


def score_moe(form: MoeForm, parameters: Mapping[str, Tensor], x: Tensor) -> MoeScores:
    """Score normalised inputs.

    An expert's score is ``x · w_e``. With product keys, the query ``q = W x`` is cut into halves, and an
    expert's score is the sum of its row's score ``q_1 · c_m`` and its column's ``q_2 · d_n``.

    Args:
        form: the router's form.
        parameters: from ``split_parameters``, float32.
        x: inputs, from ``normalise_inputs``, ``[T, I]``.

    Source: the linear router of Shazeer et al., arXiv:1701.06538, in float32 as in Switch Transformers,
        arXiv:2101.03961; product keys, arXiv:1907.05242.
    """

    def score(name: str) -> Tensor | None:
        return linear(x, parameters[name]) if name in parameters else None

    first = second = None
    if form.kind == "product_keys":
        half = form.query_size // 2
        query = linear(x, parameters["query"])
        first = linear(query[:, :half], parameters["first"])
        second = linear(query[:, half:], parameters["second"])
    return MoeScores(score("rows"), score("groups"), first, second, score("shared"))


def sum_halves(form: MoeForm, first: Tensor, second: Tensor) -> Tensor:
    """Return the score of each expert of a grid, ``[T, E]``: the sum of its row's and its column's."""
    cells = torch.tensor(form.cells, device=first.device)
    return first[:, cells // form.num_columns] + second[:, cells % form.num_columns]
