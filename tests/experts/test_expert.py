import copy
import pickle

import pytest
import torch

from lorary.errors import FormatError
from lorary.experts import Expert, Factors
from lorary.experts.expert import check_finite


def test_counts_follow_the_factors(make_expert):
    expert = make_expert(shapes={"q": (2, 6, 6), "up": (3, 4, 10)})
    assert expert.ranks == {"q": 2, "up": 3}
    assert expert.max_rank == 3
    assert expert.num_parameters == 2 * 12 + 3 * 14
    assert expert.dtypes == (torch.float32,)


def test_casting_changes_the_dtype_of_every_factor_and_nothing_else(make_expert):
    expert = make_expert(tasks=("x",))
    half = expert.to(torch.bfloat16)
    assert half.dtypes == (torch.bfloat16,)
    assert (half.name, half.base_model, half.card) == (expert.name, expert.base_model, expert.card)
    assert torch.equal(
        half.factors["model.layers.0.q_proj"].a, expert.factors["model.layers.0.q_proj"].a.bfloat16()
    )
    assert expert.dtypes == (torch.float32,)


def test_renaming_shares_the_factors(make_expert):
    expert = make_expert()
    renamed = expert.rename("verse")
    assert renamed.name == "verse"
    assert renamed.factors["model.layers.0.q_proj"].a is expert.factors["model.layers.0.q_proj"].a


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda expert: pickle.loads(pickle.dumps(expert))])
def test_an_expert_survives_copying_and_pickling_between_processes(
    make_expert, assert_same_expert, duplicate
):
    expert = make_expert(provenance={"seed": 1})
    assert_same_expert(duplicate(expert), expert)


def test_the_mapping_given_can_change_without_changing_the_expert():
    factors = {"q": Factors(torch.ones(1, 2), torch.ones(3, 1))}
    expert = Expert("x", "base", factors)
    factors.clear()
    assert list(expert.factors) == ["q"]


def test_its_picture_in_a_traceback_is_one_line(make_expert):
    assert repr(make_expert()) == "<Expert 'poetry' for 'org/base': 2 modules, rank 2, 56 parameters>"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(2, 4), torch.ones(4, 3), r"agree on the rank R, found \[2, 4\] and \[4, 3\]"),
        (torch.ones(4), torch.ones(4, 1), r"a must be 2-D and not empty, found shape \[4\]"),
        (torch.ones(1, 4), torch.ones(4, 1, 1), r"b must be 2-D and not empty, found shape \[4, 1, 1\]"),
        (torch.ones(0, 4), torch.ones(4, 0), r"a must be 2-D and not empty, found shape \[0, 4\]"),
        (
            torch.ones(1, 4, dtype=torch.int8),
            torch.ones(4, 1),
            "a must be one of float16, .*found torch.int8",
        ),
        ([[1.0]], torch.ones(4, 1), "a must be a tensor, found list"),
    ],
)
def test_factors_that_do_not_fit_are_refused_with_expert_and_module(a, b, message):
    with pytest.raises(ValueError, match=f"expert 'x', module 'q': .*{message}"):
        Expert("x", "base", {"q": Factors(a, b)})


def test_an_expert_without_factors_is_refused():
    with pytest.raises(ValueError, match="expert 'x' must change at least one module"):
        Expert("x", "base", {})


def test_several_bad_modules_are_counted():
    bad = Factors(torch.ones(2, 4), torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"module 'q': .*\(and 1 more such module\)"):
        Expert("x", "base", {"q": bad, "k": bad})


def test_a_plain_tuple_is_refused():
    with pytest.raises(ValueError, match=r"module 'q': it must have Factors\(a, b\), found tuple"):
        Expert("x", "base", {"q": (torch.ones(1, 1), torch.ones(1, 1))})


def test_an_unsafe_name_is_refused():
    with pytest.raises(ValueError, match=r"must not begin with '\.'"):
        Expert("../x", "base", {"q": Factors(torch.ones(1, 1), torch.ones(1, 1))})


def test_a_dtype_without_fractions_is_refused(make_expert):
    with pytest.raises(ValueError, match=r"dtype must be one of float16.*found torch.int8"):
        make_expert().to(torch.int8)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_number_that_is_not_finite_is_found(make_expert, value, dtype):
    expert = make_expert(dtype=dtype)
    check_finite(expert)
    expert.factors["model.layers.1.up_proj"].b[3, 1] = value
    with pytest.raises(
        FormatError, match=r"expert 'poetry' in 'f' .*found 1 .* in b of module 'model.layers.1.up_proj'"
    ):
        check_finite(expert, "f")
