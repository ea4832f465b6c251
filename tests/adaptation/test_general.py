"""Adapting a library whose experts build on a general expert: as on a base model with it folded in."""

from dataclasses import replace

import pytest
import torch

from lorary.adaptation import adapt, transfer
from lorary.experts import hash_weights
from lorary.models import fold, wrap_base
from lorary.training import TrainConfig

from .conftest import GENERIC


@pytest.fixture(scope="module")
def general(tiny, draw_expert):
    return draw_expert(tiny, "common", rank=3, seed=5, role="general")


@pytest.fixture(scope="module")
def standing(library, general):
    weights = hash_weights(general)
    experts = {
        name: replace(each, card=replace(each.card, on_top_of=weights)) for name, each in library.items()
    }
    return {**experts, "common": general}


@pytest.fixture(scope="module")
def folded(build_tiny_base, general):
    base = build_tiny_base()
    return wrap_base(fold(base.model, general), base.tokenizer, name="folded")


@pytest.fixture(scope="module")
def plain(library):
    return {name: each.with_base("folded") for name, each in library.items()}


class Routed(dict):
    """A mapping that knows which of its experts are used, as a library does."""

    def routed(self, include=()):
        return {name: each for name, each in self.items() if each.card.role == "expert"}


@pytest.mark.parametrize("method", ["fresh", "average", "arrow", "weights"])
def test_results_stand_on_it_and_equal_those_on_the_folded_base_model(
    tiny, standing, folded, plain, few, configure, general, tmp_path, method
):
    config = configure(method)
    options = {"router_options": {"generic": GENERIC}, "measured": {"greek": few["greek"].validation}}
    found = adapt(tiny, Routed(standing), few, config, tmp_path / "on-top", **options)
    wanted = adapt(folded, plain, few, config, tmp_path / "folded", **options)
    for name, task in found.tasks.items():
        assert task.expert.card.on_top_of == hash_weights(general)
        for path, pair in wanted.tasks[name].expert.factors.items():
            own = task.expert.factors[path]
            torch.testing.assert_close(own.b @ own.a, pair.b @ pair.a, atol=1e-3, rtol=1e-3)
    losses = [torch.tensor(run.tasks["greek"].losses) for run in (found, wanted)]
    torch.testing.assert_close(*losses, atol=1e-3, rtol=1e-3)
    again = adapt(tiny, Routed(standing), few, config, tmp_path / "on-top", **options)
    assert all(
        torch.equal(pair.b, found.tasks[name].expert.factors[path].b)
        for name, task in again.tasks.items()
        for path, pair in task.expert.factors.items()
    )


def test_the_general_expert_is_trained_with_the_start(tiny, standing, few, configure, general, tmp_path):
    config = configure("average", train={"max_steps": 0}, train_general=True, rank=9)
    examples, told = {"greek": few["greek"]}, {"measured": {"greek": few["greek"].validation}}
    whole = adapt(tiny, Routed(standing), examples, config, tmp_path / "whole", **told).tasks["greek"]
    apart = adapt(
        tiny, Routed(standing), examples, replace(config, train_general=False), tmp_path / "apart", **told
    ).tasks["greek"]
    assert whole.losses == pytest.approx(apart.losses, rel=1e-4)
    assert (whole.expert.card.on_top_of, apart.expert.card.on_top_of) == (None, hash_weights(general))
    assert whole.expert.card.parents == (*apart.expert.card.parents, "common")
    for path, (a, b) in general.factors.items():
        own, other = whole.expert.factors[path], apart.expert.factors[path]
        torch.testing.assert_close(own.b @ own.a, other.b @ other.a + b @ a, atol=1e-4, rtol=1e-4)


def test_without_a_general_expert_there_is_none_to_train(tiny, library, few, configure, tmp_path):
    with pytest.raises(
        ValueError, match=r"train_general needs experts that build on .* 'dates' builds on none"
    ):
        adapt(tiny, library, few, configure("average", train_general=True), tmp_path)


def test_the_transfer_matrix_has_it_on_in_every_cell(tiny, standing, folded, plain, few, tmp_path):
    config = TrainConfig(max_steps=2, batch_size=2, learning_rate=1e-2)
    names = list(plain)[:2]
    found, wanted = (
        transfer(base, experts, few, tmp_path / base.name, config, names=names, starts=("experts",))
        for base, experts in ((tiny, standing), (folded, plain))
    )
    # Cells draw their first weights by their keys, so only what is measured before the training is equal.
    for name, cells in wanted.cells.items():
        for task, cell in cells.items():
            assert found.cells[name][task].before == pytest.approx(cell.before, rel=1e-4)
