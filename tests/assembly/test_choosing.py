"""Each request of a call is answered by whom it names."""

import pytest
import torch

from lorary.errors import BaseModelError, UnknownExpert
from lorary.routing import Choice

PROMPTS = [[5, 9, 14, 3], [7, 7], [30, 2, 11], [8, 1, 4, 4, 9], [6]]


class First:
    """A user's own chooser: the first expert, by half."""

    def choose(self, path, x, rows):
        return Choice(torch.zeros(len(x), 1, dtype=torch.int64), torch.full((len(x), 1), 0.5))


@pytest.fixture
def choices(model):
    return [
        None,
        "dates",
        {"prices": 0.7, "morse": 0.3},
        model.router("spectr", top_k=2),
        "auto",
    ]


def logits_of(model, ids, experts):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), experts=experts).logits[0]


def test_every_prompt_is_answered_its_own_way(model, choices):
    alone = [
        model.generate([ids], experts=choice, max_new_tokens=5)[0]
        for ids, choice in zip(PROMPTS, choices, strict=True)
    ]
    assert model.generate(PROMPTS, experts=choices, max_new_tokens=5) == alone


def test_every_row_of_a_batch_goes_its_own_way(model, choices):
    rows = [[5, 9, 14, 3]] * 5
    with torch.no_grad():
        found = model(input_ids=torch.tensor(rows), experts=choices).logits
    for row, choice in enumerate(choices):
        torch.testing.assert_close(found[row], logits_of(model, rows[row], choice), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[1])


def test_requests_packed_into_one_row_go_their_own_ways(model, choices):
    lengths = torch.tensor([len(ids) for ids in PROMPTS])
    packed = torch.tensor([[token for ids in PROMPTS for token in ids]])
    rows = torch.arange(len(PROMPTS)).repeat_interleave(lengths)[None]
    positions = torch.cat([torch.arange(int(length)) for length in lengths])[None]
    with torch.no_grad():
        found = model(
            input_ids=packed, position_ids=positions, use_cache=False, rows=rows, experts=choices
        ).logits[0]
    for own, ids, choice in zip(found.split(lengths.tolist()), PROMPTS, choices, strict=True):
        torch.testing.assert_close(own, logits_of(model, ids, choice), rtol=1e-4, atol=1e-5)


def test_one_choice_holds_for_all(model):
    each = model.generate(PROMPTS, experts=["dates"] * 5, max_new_tokens=3)
    assert model.generate(PROMPTS, experts="dates", max_new_tokens=3) == each
    with model.assign(["dates"] * 5):
        assert model.generate(PROMPTS, max_new_tokens=3) == each
        base = model.generate(PROMPTS, experts=None, max_new_tokens=3)
    with model.routed(None):
        assert model.generate(PROMPTS, max_new_tokens=3) == base


def test_a_chooser_of_a_users_own_is_asked(model):
    ids = PROMPTS[0]
    first = model.stack.names[0]
    torch.testing.assert_close(logits_of(model, ids, First()), logits_of(model, ids, {first: 0.5}))


def test_a_router_that_is_passed_is_the_same_as_one_that_is_set(model):
    ids = PROMPTS[3]
    router = model.router("arrow", top_k=1, combine="factors")
    passed = logits_of(model, ids, router)
    with model.routed("arrow", router.options, "factors"):
        assert torch.equal(logits_of(model, ids, "auto"), passed)


def test_weights_need_not_sum_to_one(model):
    ids = PROMPTS[0]
    base, once, twice = (logits_of(model, ids, {"dates": weight}) for weight in (0.0, 1.0, 2.0))
    assert torch.equal(base, logits_of(model, ids, None))
    assert not torch.allclose(once, twice)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (["dates"], ValueError, "one for each of 5 requests, or one for all, found 1"),
        ("date", UnknownExpert, "did you mean 'dates'"),
        ({"dates": float("nan")}, ValueError, "must have a finite weight, found nan"),
        ({"dates": "much"}, ValueError, "must have a finite weight, found 'much'"),
        ({"dates": True}, ValueError, "must have a finite weight, found True"),
        ([7] * 5, ValueError, "experts are given by name, .* found 7"),
    ],
)
def test_what_cannot_choose_is_refused(model, wrong, error, message):
    with pytest.raises(error, match=message):
        model.generate(PROMPTS, experts=wrong, max_new_tokens=1)


def test_without_a_batch_nobody_can_be_named(model):
    with pytest.raises(ValueError, match="need input_ids or inputs_embeds"):
        model(experts=["dates"])


def test_beams_that_a_models_configuration_prefers_are_left_out(model):
    """Guards a refusal that blamed the caller: three beams made a batch of three."""
    expected = model.generate(PROMPTS[:1], experts="dates", max_new_tokens=3)
    model.model.generation_config.num_beams = 3
    assert model.generate(PROMPTS[:1], experts="dates", max_new_tokens=3) == expected


def test_a_tokenizer_that_gives_up_is_a_fault_of_the_base_model(model, monkeypatch):
    """Guards an error that no ``except Exception`` catches."""
    panic = type("PanicException", (BaseException,), {})

    def give_up(*_, **__):
        raise panic("retry-limit-in-match over")

    monkeypatch.setattr(type(model.tokenizer), "__call__", give_up)
    with pytest.raises(BaseModelError, match="tokenizer failed on 'hello'"):
        model.generate("hello")
