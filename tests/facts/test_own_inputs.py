import pytest
import torch

from lorary.errors import UnknownExpert
from lorary.facts import collect_inputs
from lorary.facts.means import mean_activations

TEXTS = {"dates": [[5, 6, 7], [8, 9, 10, 11, 12], [13]], "morse": [[20, 21], [5, 6, 7]]}


@torch.no_grad()
def read_by_hand(model, name, texts):
    """Read one text after the other with the expert, and keep what plain hooks see, in any order of texts."""
    seen = {path: [] for path in model.stack.layers}
    handles = [
        layer.base.register_forward_pre_hook(lambda _, given, path=path: seen[path].append(given[0][0]))
        for path, layer in model.stack.layers.items()
    ]
    for ids in sorted(texts, key=len):
        with model.assign([name]):
            model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {path: torch.cat(tokens) for path, tokens in seen.items()}


@pytest.mark.parametrize("tokens_per_pass", [1, 6, 1000])
def test_inputs_are_those_of_each_text_read_alone_with_its_expert(model, tokens_per_pass):
    found = collect_inputs(model.stack, TEXTS, tokens_per_pass=tokens_per_pass)
    assert list(found) == list(model.stack.layers)
    for row, (name, texts) in enumerate(TEXTS.items()):
        for path, expected in read_by_hand(model, name, texts).items():
            torch.testing.assert_close(found[path][row], expected, atol=1e-5, rtol=1e-4)


def test_their_means_are_the_mean_activations(model):
    means = mean_activations(model.stack, TEXTS)
    for path, inputs in collect_inputs(model.stack, TEXTS).items():
        together = torch.stack([own.mean(0) for own in inputs])
        torch.testing.assert_close(together, means[path], atol=1e-5, rtol=1e-4)


def test_texts_are_read_up_to_so_many_tokens(model):
    found = collect_inputs(model.stack, TEXTS, 4)
    expected = collect_inputs(model.stack, {"dates": [[5, 6, 7], [8]], "morse": [[20, 21], [5, 6]]})
    for path, inputs in found.items():
        assert [len(own) for own in inputs] == [4, 4]
        for own, other in zip(inputs, expected[path], strict=True):
            torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)


def test_layers_that_read_the_same_input_share_it(model):
    found = collect_inputs(model.stack, TEXTS)
    query = next(path for path in found if path.endswith("q_proj"))
    assert found[query][0] is found[query.replace("q_proj", "v_proj")][0]
    assert found[query][0] is not found[query.replace("q_proj", "o_proj")][0]


def test_bad_input_is_refused(model):
    with pytest.raises(UnknownExpert, match="prose"):
        collect_inputs(model.stack, {"prose": [[1]]})
    with pytest.raises(ValueError, match="'dates' needs at least one text, of at least one token"):
        collect_inputs(model.stack, {"dates": []})
    with pytest.raises(ValueError, match="num_tokens must be at least 1, found 0"):
        collect_inputs(model.stack, TEXTS, 0)
