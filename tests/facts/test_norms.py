import pytest
import torch

from lorary.assembly import load_model
from lorary.facts.norms import NORMS, measure_norms

TEXTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [5, 6, 20]]
GENERIC = ("Some text of no task.", "And another one, 1 2 3.", "x = y + z; print(x)")


def read_inputs(base, paths):
    """The inputs of some layers of a bare base model, token by token but the first of each text, float64."""
    seen = {path: [] for path in paths}
    for path in paths:
        base.model.get_submodule(path).register_forward_pre_hook(
            lambda _, given, path=path: seen[path].append(given[0][0, 1:].double())
        )
    with torch.no_grad():
        for ids in TEXTS:
            base.model(input_ids=torch.tensor([ids]))
    return {path: torch.cat(rows) for path, rows in seen.items()}


@pytest.mark.parametrize("tokens_per_pass", [1, 8, 1000])
def test_norms_are_those_of_dense_experts_over_all_tokens_but_the_first(
    model, experts, build_tiny_base, tokens_per_pass
):
    names = ["morse", "narrow"]
    inputs = read_inputs(build_tiny_base(), model.stack.layers)
    found = measure_norms(model.stack, names, TEXTS, tokens_per_pass=tokens_per_pass)
    assert found.keys() == model.stack.layers.keys()
    for path, levels in found.items():
        for name, (mean, deviation) in zip(names, levels, strict=True):
            if path not in experts[name].factors:
                assert mean == deviation == 0
                continue
            a, b = experts[name].factors[path]
            lengths = (inputs[path] @ (b.double() @ a.double()).T).norm(dim=1)
            torch.testing.assert_close(mean.double(), lengths.mean(), atol=1e-6, rtol=1e-4)
            torch.testing.assert_close(deviation.double(), lengths.std(correction=0), atol=1e-6, rtol=1e-3)


def test_they_are_stored_with_the_experts_and_checked(library, build_tiny_base, monkeypatch):
    model = load_model(build_tiny_base(), library, router="seqr", generic=GENERIC)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[5, 9, 30, 7]])).logits
    calls = []
    monkeypatch.setattr("lorary.facts.norms.measure_norms", lambda *args, **options: calls.append(args))
    again = load_model(build_tiny_base(), library, router="seqr", generic=GENERIC)
    with torch.no_grad():
        assert torch.equal(again(input_ids=torch.tensor([[5, 9, 30, 7]])).logits, expected)
    assert not calls


def test_stored_norms_of_other_layers_or_with_negative_numbers_are_not_used(model):
    options = {"generic": GENERIC, "input_norm": "none"}
    context = model.facts._make_context({}, options)
    (artifact,) = NORMS.compute(context, ["morse"]).values()
    is_sound = NORMS.check(context)
    assert is_sound("morse", artifact)
    assert not is_sound("narrow", artifact)
    assert not is_sound("morse", {**artifact, "rows": -artifact["rows"]})
