import torch

from lorary.assembly.explanation import Explanation

ATTACK = "<script>alert(1)</script>"


def explain(shares, experts=("poetry", "sql"), tokens=None):
    weights = torch.tensor(shares)[None]  # [1, T, E]
    return Explanation(tuple(tokens or ("a", " b", "\n")[: len(shares)]), experts, ("layer",), weights)


def test_tokens_have_the_colour_of_their_first_expert_as_strong_as_its_share():
    found = explain([[0.75, 0.25], [0.2, 0.8], [0.0, 0.0]])
    assert repr(found) == "<Explanation of 3 tokens: sql 35%, poetry 32%>"
    page = found._repr_html_()
    for colour, rest in (
        ("230,159,0,0.41", "poetry 75%, sql 25%"),
        ("0,114,178,0.44", "sql 80%, poetry 20%"),
    ):
        assert f'background:rgba({colour});border-radius:2px" title="{rest}">' in page
    assert ",0.00)" in page and "↵\n" in page
    assert page.index(">sql</span> 35%") < page.index(">poetry</span> 32%")


def test_texts_are_escaped():
    page = explain([[1.0]], experts=(f'"{ATTACK}',), tokens=(ATTACK,))._repr_html_()
    assert "<script" not in page and "&lt;script&gt;" in page and "&quot;&lt;script" in page


def test_a_model_shows_its_base_experts_and_router(model):
    with model.routed(None):
        assert repr(model).startswith("<RoutedModel ") and repr(model).endswith("no router>")
    with model.routed("arrow"):
        assert repr(model).endswith("router arrow>")
        page = model._repr_html_()
    for text in (model.base.name, "float32 on cpu", *model.names, "arrow, outputs combined"):
        assert text in page
