import pytest
import torch

from lorary.experts.skills import TaskTable
from lorary.experts.skills.task_table import name_group

PATHS = ("model.layers.3.self_attn.q_proj", "transformer.h.0.mlp.c_fc", "lm_head")


def make_table(**changes):
    given = {"tasks": ("sql", "poetry"), "num_skills": 2, "granularity": "model", **changes}
    given.setdefault("logits", {"model": torch.tensor([[0.0, 1.0], [2.0, -1.0]])})
    return TaskTable(**given)


@pytest.mark.parametrize(
    ("granularity", "groups"),
    [
        ("model", ("model", "model", "model")),
        ("block", ("model.layers.3", "transformer.h.0", "lm_head")),
        ("layer", ("model.layers.3.self_attn", "transformer.h.0.mlp", "lm_head")),
        ("linear", PATHS),
    ],
)
def test_layers_share_rows_by_granularity(granularity, groups):
    assert tuple(name_group(path, granularity) for path in PATHS) == groups


def test_a_task_has_the_weights_of_its_row():
    scores = torch.sigmoid(torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(make_table().find_weights("x", "poetry"), (scores / scores.sum())[None])


def test_a_task_that_is_not_in_the_table_has_the_mean_row():
    scores = torch.sigmoid(torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(make_table().find_weights("x", None), (scores / scores.sum())[None])


def test_a_shared_skill_has_weight_1():
    found = make_table(has_shared=True).find_weights("x", "sql")
    assert found.shape == (1, 3)
    assert found[0, 2] == 1


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="found 'poem': did you mean 'poetry'"):
        make_table().find_weights("x", "poem")


def test_all_faults_are_named_at_once():
    message = r"different names.* model, block, layer, linear, found 'head'.* \[2, 3\] finite numbers"
    with pytest.raises(ValueError, match=message):
        make_table(tasks=("sql", "sql"), granularity="head", num_skills=3)


@pytest.mark.parametrize("changes", [{"logits": {}}, {"num_splits": 0}, {"num_skills": 0}])
def test_an_empty_table_is_refused(changes):
    with pytest.raises(ValueError, match="at least one"):
        make_table(**changes)


def test_logits_must_be_finite():
    with pytest.raises(ValueError, match="finite numbers"):
        make_table(logits={"model": torch.full((2, 2), torch.nan)})
