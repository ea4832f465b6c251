"""Base models, and PEFT's soft prompts for them."""

import warnings

import pytest
import torch

from lorary.experts import Expert, Factors, read_peft
from tests.models.soft_prompts.cases import KINDS, train


@pytest.fixture(scope="package")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


@pytest.fixture
def family(request):
    return getattr(request, "param", "llama")


@pytest.fixture
def base(build_base, family):
    return build_base(family)


@pytest.fixture(scope="package")
def trained(peft, build_base, tmp_path_factory):
    """PEFT's model and our expert of each kind, for a family."""
    known = {}

    def find(family):
        if family not in known:
            folder = tmp_path_factory.mktemp(family)
            models = {kind: train(peft, build_base(family), kind, folder / kind) for kind in KINDS}
            known[family] = models, {kind: read_peft(folder / kind) for kind in KINDS}
        return known[family]

    return find


@pytest.fixture
def everyone(trained, family):
    return trained(family)


@pytest.fixture
def plain(base):
    """An expert of low-rank factors."""
    generator = torch.Generator().manual_seed(7)
    factors = {
        path: Factors(
            torch.randn(2, layer.in_features, generator=generator) * 0.3,
            torch.randn(layer.out_features, 2, generator=generator) * 0.3,
        )
        for path, layer in base.named_modules()
        if path.endswith("q_proj")
    }
    return Expert("plain", "", factors)
