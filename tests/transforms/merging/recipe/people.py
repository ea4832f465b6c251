"""Experts, recipes as people write them, and the dense merges that these are compared with."""

from dataclasses import replace

import torch

from lorary.experts import Expert, Factors
from lorary.transforms.merging import merge_by_recipe

BLOCKS = 4


PATHS = [
    f"model.layers.{block}.{name}" for block in range(BLOCKS) for name in ("self_attn.q_proj", "mlp.up_proj")
]


MODELS = """
models:
  - {model: a, parameters: {weight: 0.5, density: 0.9, gamma: 0.05}}
  - {model: b, parameters: {weight: 0.3, density: 0.8, gamma: 0.1}}
base_model: org/base
"""


GRADIENT = """
models:
  - {model: a, parameters: {weight: [0, 1]}}
  - {model: b, parameters: {weight: [1, 0]}}
merge_method: linear
"""


SLICES = """
slices:
  - sources:
      - {model: a, layer_range: [0, 4]}
      - {model: b, layer_range: [0, 4]}
merge_method: slerp
base_model: a
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 1]}
    - {filter: mlp, value: [1, 0.5, 0]}
    - {filter: embed_tokens, value: 0.1}
    - value: 0.5
"""


def draw(name, paths=(*PATHS, "lm_head"), base="org/base"):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    factors = {
        path: Factors(torch.randn(3, 10, generator=generator), torch.randn(8, 3, generator=generator))
        for path in paths
    }
    return Expert(name, base, factors)


def dense(expert, path):
    return expert.factors[path].b.double() @ expert.factors[path].a.double()


def check(library, recipe, expected, tolerance=1e-5):
    """Compare the merge in every module with ``expected(path, changes by name)``."""
    merged = merge_by_recipe(library, keep_full_rank(recipe))
    for path in library["a"].factors:
        wanted = expected(path, {name: dense(expert, path) for name, expert in library.items()})
        torch.testing.assert_close(dense(merged, path), wanted, rtol=tolerance, atol=tolerance)
    return merged


def keep_full_rank(recipe):
    return replace(recipe, rank="full")


def slerp(one, two, t):
    angle = ((one * two).sum() / (one.norm() * two.norm())).arccos()
    return (((1 - t) * angle).sin() * one + (t * angle).sin() * two) / angle.sin()
