"""Experts that build on a general expert: as on a base model with the general expert folded in."""

from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model
from lorary.assembly.save import save_model
from lorary.data import TokenizedExample
from lorary.errors import IncompatibleExpert
from lorary.experts import hash_weights
from lorary.facts import find_task_facts, list_task_facts
from lorary.library import Library
from lorary.models import fold, wrap_base
from lorary.routing import ROUTERS
from lorary.training import TrainingExamples
from tests.facts.texts import take_for_examples

GENERIC = ("Some text of no task.", "And another.", "One more, 12 words.")
OPTIONS = {
    "fixed": {"weights": {"morse": 0.7, "dates": 0.5}},
    "single": {"expert": "morse"},
    # Without a general expert below, the default falls back on all experts.
    "calibrated": {"generic": GENERIC, "top_k": 2, "fallback": "all"},
    "arrow": {"top_k": 3, "abstain": 0.5},
    "seqr": {"generic": GENERIC},
    "logo": {"top_k": 2},
}
WITHOUT_TASKS = [name for name in ROUTERS if name != "moe" and not list_task_facts([name])]


@pytest.fixture
def general(base, draw_expert):
    """An expert of a larger rank than the others."""
    return draw_expert(base, "common", rank=5, role="general")


@pytest.fixture
def on_top(experts, general):
    """The experts, building on the general one."""
    weights = hash_weights(general)
    return {
        name: replace(expert, card=replace(expert.card, on_top_of=weights))
        for name, expert in experts.items()
    }


@pytest.fixture
def model(base, on_top, general):
    return load_model(base, on_top, general=general, router=None)


@pytest.fixture
def folded(build_tiny_base, experts, general):
    """The same experts on a base model with the general expert folded in."""
    base = build_tiny_base()
    sums = wrap_base(fold(base.model, general), base.tokenizer, name=base.name)
    return load_model(sums, {name: _forget_base(expert) for name, expert in experts.items()}, router=None)


def _halve(sequences):
    """Examples whose answer is the last token. On equal tokens queries have gradients of rounding only."""
    return {
        name: TrainingExamples(train=tuple(TokenizedExample(tuple(ids[:-1]), (ids[-1],)) for ids in own))
        for name, own in {**sequences, "narrow": sequences["prices"]}.items()
    }


def _forget_base(expert):
    return replace(expert, card=replace(expert.card, base_fingerprint=None))


@torch.no_grad()
def answer(model, input_ids, experts="auto"):
    return model(input_ids=input_ids, experts=experts).logits


@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("router", WITHOUT_TASKS)
def test_under_every_router_the_general_expert_is_on(model, folded, input_ids, router, combine):
    for each in (model, folded):
        each.set_router(router, ROUTERS[router].config(**OPTIONS.get(router, {})), combine)
    # Scores of the calibrated router are divided by small deviations, and so is their rounding.
    limit = 2e-3 if router == "calibrated" else 1e-5
    torch.testing.assert_close(answer(model, input_ids), answer(folded, input_ids), atol=limit, rtol=limit)


@pytest.mark.parametrize("router", [name for name in ROUTERS if list_task_facts([name])])
def test_facts_from_tasks_are_read_with_the_general_expert_on(model, folded, sequences, input_ids, router):
    examples = take_for_examples(sequences) if router != "phatgoose" else _halve(sequences)
    for each in (model, folded):
        facts = list_task_facts([router])
        options = {"gates": {"num_steps": 2, "batch_size": 2}}
        each.provide(find_task_facts(each, {}, examples, facts, options=options))
        each.set_router(router)
    torch.testing.assert_close(answer(model, input_ids), answer(folded, input_ids))


@pytest.mark.parametrize(
    "choice", ["dates", {"dates": 0.5, "morse": 0.5}, {"prices": 0.7}, {"dates": 0.0}], ids=str
)
def test_by_name_is_the_general_expert_and_the_named_ones(model, folded, input_ids, choice):
    torch.testing.assert_close(answer(model, input_ids, choice), answer(folded, input_ids, choice))


def test_none_is_the_base_model_and_the_name_is_the_general_expert_alone(
    model, folded, build_tiny_base, input_ids
):
    with torch.no_grad():
        alone = build_tiny_base().model(input_ids=input_ids).logits
    torch.testing.assert_close(answer(model, input_ids, None), alone)
    torch.testing.assert_close(answer(model, input_ids, "common"), answer(folded, input_ids, None))
    # A choice that names it says itself what weight it has.
    own = answer(load_model(build_tiny_base(), _plain(model), router=None), input_ids, "dates")
    torch.testing.assert_close(answer(model, input_ids, {"common": 0.0, "dates": 1.0}), own)


def _plain(model):
    experts = {name: model.facts.expert(name) for name in model.names}
    return {name: replace(each, card=replace(each.card, on_top_of=None)) for name, each in experts.items()}


def test_requests_of_one_batch_choose_each_for_itself(model, folded, build_tiny_base, input_ids):
    batch = input_ids[:1].expand(4, -1)
    found = answer(model, batch, [None, "dates", "common", model.router("arrow", abstain=0.5)])
    with torch.no_grad():
        torch.testing.assert_close(found[:1], build_tiny_base().model(input_ids=batch[:1]).logits)
    wanted = ["dates", None, folded.router("arrow", abstain=0.5)]
    torch.testing.assert_close(found[1:], answer(folded, batch[1:], wanted))


def test_assigning_none_is_the_base_model_alone(model, input_ids, build_tiny_base):
    model.set_router("uniform")
    with model.assign([None, None]):
        found = answer(model, input_ids)
    with torch.no_grad():
        torch.testing.assert_close(found, build_tiny_base().model(input_ids=input_ids).logits)


def test_a_library_finds_it_by_its_hash_whatever_its_name(base, on_top, general, input_ids, folded, tmp_path):
    library = Library.open(str(tmp_path / "library"), create=True)
    library.add_all({**on_top, "kept-apart": replace(general, card=replace(general.card, role="expert"))})
    library.rename("kept-apart", "renamed")
    model = load_model(base, library, router="uniform")
    assert (model.general, model.names) == ("renamed", tuple(sorted(on_top)))
    folded.set_router("uniform")
    torch.testing.assert_close(answer(model, input_ids), answer(folded, input_ids))


def test_without_it_loading_is_refused_with_the_cure(base, on_top, draw_expert):
    with pytest.raises(IncompatibleExpert, match=r"builds on a general expert .* lacks: add it with"):
        load_model(base, on_top, router=None)
    other = draw_expert(base, "other", seed=7)
    with pytest.raises(IncompatibleExpert, match=r"other weights .* than 'other': pass the one"):
        load_model(base, on_top, general=other, router=None)


def test_plain_experts_beside_are_used_by_name_only(base, on_top, general, draw_expert, input_ids):
    plain = draw_expert(base, "plain")
    with pytest.warns(UserWarning, match="'plain' builds on no general expert, .* routers do not choose it"):
        model = load_model(base, {**on_top, "plain": plain}, general=general, router="uniform")
    assert "plain" not in model.names
    alone = load_model(fold_nothing(base, model), {"plain": plain}, router=None)
    torch.testing.assert_close(
        answer(model, input_ids, "plain") if model.stack.layers else None, answer(alone, input_ids, "plain")
    )


def fold_nothing(base, model):
    """A copy of the base model without experts."""
    with model.stack.set_aside() as bare:
        copy = type(bare)(bare.config)
        copy.load_state_dict(bare.state_dict())
    return wrap_base(copy.eval(), base.tokenizer, name=base.name)


def test_a_saved_model_keeps_it(base, model, folded, input_ids, tmp_path):
    model.set_router("arrow")
    wanted = answer(model, input_ids)
    save_model(model, tmp_path / "saved", with_base=True)
    loaded = load_model(tmp_path / "saved")
    assert loaded.general == "common"
    torch.testing.assert_close(answer(loaded, input_ids), wanted)


def test_an_expert_that_stands_on_it_can_be_added_and_it_cannot_be_removed(model, folded, on_top, input_ids):
    for each in (model, folded):
        each.set_router("uniform")
        each.remove_expert("prices")
    model.add_expert(on_top["prices"])
    folded.add_expert(
        _forget_base(replace(on_top["prices"], card=replace(on_top["prices"].card, on_top_of=None)))
    )
    torch.testing.assert_close(answer(model, input_ids), answer(folded, input_ids))
    with pytest.raises(
        IncompatibleExpert, match=r"'common' cannot be removed, because 5 experts .* build on"
    ):
        model.remove_expert("common")


def test_plain_experts_have_one_to_fall_back_on(base, experts, general, tmp_path, input_ids):
    library = Library.open(str(tmp_path / "library"), create=True)
    library.add_all({**experts, "common": general})
    model = load_model(base, library, router="uniform")
    assert model.general == "common"
    assert model.stack.general is None
    assert model.facts.fallback == len(model.names)
    assert model.stack.names[model.facts.fallback] == "common"
    alone = load_model(fold_nothing(base, model), experts, router="uniform")
    torch.testing.assert_close(answer(model, input_ids), answer(alone, input_ids))
    assert load_model(fold_nothing(base, model), library, general=None).general is None
