"""Random inputs, prototypes, scores, and all that a router may be built from."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lorary.facts import FACTS
from lorary.routing.card import Card
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.material import LayerMaterial, RequestMaterial

INPUTS = 16
# Module path -> layer input.
LAYERS = {"first": 16, "second": 12}
EMBEDDING = 10


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """A seeded source of gaussian tensors."""
    generator = torch.Generator().manual_seed(5)
    return lambda *shape, dtype=torch.float32: torch.randn(*shape, generator=generator).to(dtype)


@pytest.fixture
def prototypes(draw: Callable[..., Tensor]) -> Tensor:
    """Unit rows ``[6, 16]``."""
    return normalize(draw(6, INPUTS), dim=-1)


def make_moe_tensors(num_experts: int) -> dict[str, Tensor]:
    """A trained router whose experts have names, so that their order on a model does not matter."""
    form = MoeForm(
        experts=tuple(f"expert {number}" for number in range(num_experts)), top_k=min(2, num_experts)
    )
    generator = torch.Generator().manual_seed(13)
    return {
        "moe": 3 * torch.randn(form.count(INPUTS), generator=generator),
        "moe_form": torch.tensor(list(form.dump()), dtype=torch.uint8),
    }


@pytest.fixture
def make_material() -> Callable[..., LayerMaterial]:
    """Make all that is known of so many experts, or of some of them in another order."""

    def make(num_experts: int, order: list[int] | None = None) -> LayerMaterial:
        generator = torch.Generator().manual_seed(11)

        def rows(*shape: int) -> Tensor:
            drawn = torch.randn(num_experts, *shape, generator=generator)
            return drawn if order is None else drawn[order]

        names = [f"expert {number}" for number in range(num_experts)]
        chosen = names if order is None else [names[number] for number in order]
        return LayerMaterial(
            num_experts=len(chosen),
            names=tuple(chosen),
            tensors={
                "prototypes": normalize(rows(INPUTS), dim=-1),
                "gains": rows().abs() + 0.5,
                "learned_prototypes": normalize(rows(INPUTS), dim=-1),
                "learned_gains": rows().abs() + 0.5,
                "tied_prototypes": normalize(rows(INPUTS), dim=-1),
                "tied_gains": rows().abs() + 0.5,
                "a": rows(3, INPUTS),
                "b": rows(10, 3),
                "gates": rows(INPUTS),
                "means": rows(INPUTS),
                "norm_means": 20 + rows().abs(),
                "norm_deviations": 5 + rows().abs(),
                **make_moe_tensors(num_experts),
            },
            shapes={name: letters for fact in FACTS.values() for name, letters in fact.shapes.items()},
        )

    return make


@pytest.fixture
def make_request_material() -> Callable[..., RequestMaterial]:
    """Make all that is known of so many experts for a whole model, or of some of them in another order.

    Each expert has so many examples as its number says, and the last one does not change the second layer.
    """

    def make(num_experts: int, order: list[int] | None = None) -> RequestMaterial:
        generator = torch.Generator().manual_seed(17)
        chosen = list(range(num_experts)) if order is None else order

        def rows(*shape: int, bare: bool = False) -> Tensor:
            drawn = torch.randn(num_experts, *shape, generator=generator)
            if bare:
                drawn[-1] = 0
            return drawn[chosen]

        def describe_layer(path: str, width: int) -> LayerMaterial:
            bare = path == "second" and num_experts > 1
            a = rows(3, width, bare=bare)
            return LayerMaterial(
                num_experts=len(chosen),
                tensors={
                    "a": a,
                    "learned": a,
                    "has_start": torch.zeros(len(a), dtype=torch.bool),
                    "b": rows(10, 3, bare=bare),
                    "components": torch.cat([rows(3, bare=bare), rows(3, bare=bare).abs()], 1),
                    "whiteners": rows(a.shape[1], a.shape[1], bare=bare),
                    "offsets": rows(a.shape[1], bare=bare),
                    "generic_means": 0.05 * rows(),
                    "generic_deviations": 1 + 0.05 * rows().abs(),
                },
            )

        layers = {path: describe_layer(path, width) for path, width in LAYERS.items()}
        examples = [torch.randn(1 + number, EMBEDDING, generator=generator) for number in range(num_experts)]
        vocabulary = torch.randn(20, EMBEDDING, generator=torch.Generator().manual_seed(23))
        cards = [Card(f"expert {number}", f"number {number}").dump() for number in chosen]
        return RequestMaterial(
            num_experts=len(chosen),
            layers=layers,
            tensors={
                "embeddings": tuple(examples[number] for number in chosen),
                "card_texts": tuple(cards),
            },
            places=tuple(layers),
            output=lambda states: states @ vocabulary.T,
        )

    return make
