import torch

from lorary.experts import Expert, Factors
from lorary.transforms.merging import make_recipe, plan_merge


def test_a_plan_is_short_and_a_table_in_a_notebook():
    experts = {
        name: Expert(name, "<base>", {"layer": Factors(torch.ones(2, 3), torch.ones(4, 2))}) for name in "ab"
    }
    plan = plan_merge(experts, make_recipe(list(experts), "ties"))
    assert repr(plan).startswith("<MergePlan ties of 2 experts on 1 layer, about ")
    page = plan._repr_html_()
    for text in ("a, b", "&lt;base&gt;", "ties on delta", "1, rank 2 to 2"):
        assert text in page
    assert "<base>" not in page
