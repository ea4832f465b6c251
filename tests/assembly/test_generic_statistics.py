import pytest
import torch

from lorary.assembly.generic_statistics import measure_inputs, measure_log_lengths

TEXTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [5, 6, 20]]


@pytest.fixture
def tokens(build_tiny_base, model):
    """What goes into each layer of the bare base model, the first token of each text left out, float64."""
    bare = build_tiny_base().model
    seen = {path: [] for path in model.stack.layers}
    for path in seen:
        bare.get_submodule(path).register_forward_pre_hook(
            lambda _, given, path=path: seen[path].append(given[0][0, 1:].double())
        )
    with torch.no_grad():
        for ids in TEXTS:
            bare(input_ids=torch.tensor([ids]))
    return {path: torch.cat(parts) for path, parts in seen.items()}


@pytest.mark.parametrize("max_numbers", [1, 600, 2**28])
@pytest.mark.parametrize("tokens_per_pass", [1, 8, 1000])
def test_moments_are_those_of_all_tokens_but_the_first(model, tokens, tokens_per_pass, max_numbers):
    paths = list(model.stack.layers)
    found = dict(
        measure_inputs(model.stack, paths, TEXTS, tokens_per_pass=tokens_per_pass, max_numbers=max_numbers)
    )
    assert set(found) == set(paths)
    for path, (mean, covariance) in found.items():
        x = tokens[path]
        torch.testing.assert_close(mean, x.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(covariance, torch.cov(x.T, correction=0), atol=1e-5, rtol=1e-4)


def test_only_layers_in_question_are_measured(model):
    _, _, path, *_ = model.stack.layers
    assert [name for name, _ in measure_inputs(model.stack, [path], TEXTS)] == [path]


@pytest.mark.parametrize("tokens_per_pass", [1, 1000])
def test_log_lengths_are_averaged_over_all_tokens_but_the_first(model, experts, tokens, tokens_per_pass):
    found = measure_log_lengths(model.stack, experts, TEXTS, tokens_per_pass=tokens_per_pass)
    assert set(found) == set(model.stack.layers)
    for index, expert in enumerate(experts.values()):
        for path, (a, b) in expert.factors.items():
            lengths = (tokens[path] @ a.double().T @ b.double().T).norm(dim=-1)
            assert float(found[path][index]) == pytest.approx(float(lengths.log().mean()), abs=1e-4)


def test_measuring_leaves_the_routers_alone(model, experts):
    before = [layer.router for layer in model.stack.layers.values()]
    list(measure_inputs(model.stack, list(model.stack.layers), TEXTS))
    measure_log_lengths(model.stack, experts, TEXTS)
    assert [layer.router for layer in model.stack.layers.values()] == before
    assert model.stack.decision.plan is None
