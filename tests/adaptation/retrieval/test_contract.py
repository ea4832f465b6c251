"""What holds for every retrieval method; a new one is a row of RETRIEVALS and is tested here."""

from dataclasses import replace

import pytest
import torch

from lorary.adaptation.retrieval import RETRIEVALS, retrieve
from lorary.errors import DataError, IncompatibleExpert, UnknownExpert
from lorary.models.attach import attach_experts
from lorary.training import TrainingExamples
from tests.adaptation.retrieval.conftest import NAMES

READS_NOTHING = {"random"}
TRAINS = {"cosine", "svd"}


@pytest.fixture(params=RETRIEVALS)
def by(request):
    return request.param


def test_all_experts_are_sorted_by_their_scores(context, by):
    found = retrieve(context, by=by)
    assert sorted(found.names) == NAMES
    values = [value for _, value in found.scores]
    assert values == sorted(values, reverse=True)
    assert all(isinstance(value, float) for value in values)


def test_some_experts_are_the_first_of_all(context, by):
    assert retrieve(context, num=2, by=by).scores == retrieve(context, by=by).scores[:2]


def test_the_order_of_names_does_not_matter(context, by):
    first, second = (retrieve(context, names, by=by) for names in (NAMES, NAMES[::-1]))
    assert first.names == second.names
    assert dict(first.scores) == pytest.approx(dict(second.scores), abs=1e-5)


def test_only_named_experts_are_retrieved(context, by):
    assert sorted(retrieve(context, ["sql", "dates"], by=by).names) == ["dates", "sql"]


def test_tokens_that_the_base_model_read_are_counted(context, by):
    num_prompt = sum(len(example.prompt_ids) for example in context.examples.train)
    found = retrieve(context, by=by).num_tokens
    if by in READS_NOTHING:
        assert found == 0
    elif by in TRAINS:
        assert found > 0  # of two steps with two of three examples each
        known = replace(context, task_expert=context.experts["sql"])
        assert retrieve(known, by=by).num_tokens == 0
    else:
        assert found >= num_prompt


def test_nothing_is_changed(context, by):
    before = {name: pair.b.clone() for name, pair in context.experts["sql"].factors.items()}
    weights = [parameter.clone() for parameter in context.base.model.parameters()]
    retrieve(context, by=by)
    assert all(torch.equal(pair.b, before[name]) for name, pair in context.experts["sql"].factors.items())
    for parameter, old in zip(context.base.model.parameters(), weights, strict=True):
        assert torch.equal(parameter, old)
    attach_experts(context.base.model, context.experts).detach()  # nothing is attached any more


def test_a_library_gives_what_a_mapping_gives(context, by, tmp_path):
    from lorary.library import Library

    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in context.experts.values():
        library.add(expert)
    first, second = (retrieve(replace(context, experts=own), by=by) for own in (context.experts, library))
    assert dict(first.scores) == pytest.approx(dict(second.scores), abs=1e-5)


def test_more_experts_than_there_are_is_refused(context, by):
    with pytest.raises(ValueError, match=r"must be from 1 to 4 \(all that there are\), found 5"):
        retrieve(context, num=5, by=by)


@pytest.mark.parametrize("num", [0, -1, 1.5, True])
def test_a_number_that_is_none_is_refused(context, num):
    with pytest.raises(ValueError, match="must be from 1 to 4"):
        retrieve(context, num=num, by="random")


def test_all_faults_are_told_at_once(context):
    with pytest.raises(ValueError, match=r"'cosin': did you mean 'cosine'.*from 1 to 4"):
        retrieve(context, num=9, by="cosin")


def test_an_expert_that_does_not_exist_is_refused(context):
    with pytest.raises(UnknownExpert, match="has no expert 'sq1': did you mean 'sql'"):
        retrieve(context, ["sq1"], by="random")


def test_the_same_expert_twice_is_refused(context):
    with pytest.raises(ValueError, match="named once"):
        retrieve(context, ["sql", "sql"], by="random")


def test_no_experts_are_refused(context):
    with pytest.raises(ValueError, match="at least one expert to retrieve"):
        retrieve(context, [], by="random")


def test_a_task_without_examples_is_refused(context, by):
    with pytest.raises(DataError, match="task 'greek' must have at least one training example"):
        retrieve(replace(context, examples=TrainingExamples(train=())), by=by)


@pytest.mark.parametrize("by", sorted(RETRIEVALS.keys() - READS_NOTHING))
def test_experts_of_another_base_model_are_refused(context, by, build_tiny_base, draw_expert):
    other = draw_expert(build_tiny_base(1), "other")
    with pytest.raises(IncompatibleExpert):
        retrieve(replace(context, experts={**context.experts, "other": other}), by=by)
