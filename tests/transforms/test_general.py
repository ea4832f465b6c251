from dataclasses import replace

import pytest
import torch

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import ExpertCard, Factors
from lorary.transforms import subtract_general


def dense(expert, path, shape):
    """The weight change in float64; zeros where there is none."""
    pair = expert.factors.get(path)
    return torch.zeros(shape, dtype=torch.float64) if pair is None else pair.b.double() @ pair.a.double()


@pytest.mark.parametrize("general", ["sql", "few"], ids=["whole", "lacks a layer"])
@pytest.mark.parametrize("scale", [1.0, 0.25, -2.0])
def test_what_is_left_is_the_difference(experts, general, scale):
    rest = {expert.name: expert for expert in subtract_general(experts, general, scale=scale)}
    assert list(rest) == [name for name in experts if name != general]
    for name, expert in rest.items():
        assert set(expert.factors) == set(experts[name].factors) | set(experts[general].factors)
        for path, pair in expert.factors.items():
            shape = pair.b.shape[0], pair.a.shape[1]
            own, taken = (dense(experts[which], path, shape) for which in (name, general))
            torch.testing.assert_close(dense(expert, path, shape), own - scale * taken, rtol=1e-5, atol=1e-5)


def test_an_expert_from_elsewhere_can_be_taken_from_some(experts, make_expert):
    general = make_expert("general", rank=2)
    (rest,) = subtract_general(experts, general, names=["poetry"])
    assert rest.max_rank == experts["poetry"].max_rank + 2
    same = next(subtract_general({**experts, "general": general}, "general"))
    for path, (a, b) in rest.factors.items():
        assert torch.equal(a, same.factors[path].a) and torch.equal(b, same.factors[path].b)


def test_an_expert_goes_by_its_name_in_the_library(experts):
    named = {"verse": experts["poetry"], "queries": experts["sql"]}
    (rest,) = subtract_general(named, "queries")
    assert rest.card.parents == ("verse", "queries")


def test_bfloat16_and_one_expert_that_changes_nothing(make_expert):
    one, general = (make_expert(name, dtype=torch.bfloat16) for name in ("one", "general"))
    nothing = replace(general, factors={path: Factors(a, 0 * b) for path, (a, b) in general.factors.items()})
    (rest,) = subtract_general({"one": one}, general)
    (same,) = subtract_general({"one": one}, nothing)
    assert rest.dtypes == same.dtypes == (torch.bfloat16,)
    for path, (a, b) in one.factors.items():
        shape = b.shape[0], a.shape[1]
        torch.testing.assert_close(dense(same, path, shape), dense(one, path, shape))
        taken = dense(one, path, shape) - dense(general, path, shape)
        torch.testing.assert_close(dense(rest, path, shape), taken)


def test_taking_an_equal_expert_away_leaves_nothing(experts):
    (rest,) = subtract_general(experts, experts["poetry"].rename("twin"), names=["poetry"])
    for pair in rest.factors.values():
        torch.testing.assert_close(pair.b @ pair.a, torch.zeros(pair.b.shape[0], pair.a.shape[1]))


def test_it_says_what_it_is(experts):
    card = replace(experts["poetry"].card, tasks=("rhymes",))
    general = replace(experts["sql"], card=replace(experts["sql"].card, tasks=("everything",)))
    named = {"verse": replace(experts["poetry"], card=card)}
    (rest,) = subtract_general(named, general, scale=0.5)
    assert (rest.name, rest.base_model, rest.card.tasks) == ("verse", "tiny", ("rhymes",))
    assert rest.card.parents == ("verse", "sql")
    assert rest.card.description == "verse without sql"
    assert rest.card.provenance["recipe"]["merge_method"] == "subtract"
    assert rest.card.base_fingerprint == "f00d" and rest.card.fan_in_fan_out


def test_faults_are_found_before_anything_is_computed(experts):
    with pytest.raises(UnknownExpert, match="the library has no expert 'poety': did you mean 'poetry'"):
        subtract_general(experts, "poety")
    with pytest.raises(ValueError, match="names must not include the general expert, found 'poetry'"):
        subtract_general(experts, "poetry", names=["sql", "poetry"])
    with pytest.raises(ValueError, match="names must not include the general expert"):
        subtract_general(experts, experts["sql"])
    with pytest.raises(ValueError, match="at least one expert is needed"):
        subtract_general({"poetry": experts["poetry"]}, "poetry")
    with pytest.raises(ValueError, match="scale must be a finite number"):
        subtract_general(experts, "poetry", scale=float("nan"))
    card = replace(experts["sql"].card, base_fingerprint="beef")
    stranger = replace(experts["sql"], name="stranger", base_model="other", card=card)
    with pytest.raises(IncompatibleExpert):
        next(subtract_general(experts, stranger))


def test_every_expert_s_base_is_compared_with_every_other_s(make_expert):
    """A general expert that does not say its base fitted experts of any."""
    experts = {
        "a": replace(make_expert("a"), base_model="org/one", card=ExpertCard()),
        "b": replace(make_expert("b"), base_model="org/two", card=ExpertCard()),
    }
    with pytest.raises(IncompatibleExpert, match="'a' is for 'org/one' and expert 'b' for 'org/two'"):
        subtract_general(experts, replace(make_expert("general"), base_model=""))
