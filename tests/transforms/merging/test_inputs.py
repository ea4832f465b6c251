import pytest
import torch

from lorary.transforms.merging.inputs import LayerInputs
from lorary.transforms.merging.survey import survey_experts


@pytest.fixture
def layers(experts):
    return survey_experts(experts, ["poetry", "sql"], "same").layers


def test_activations_become_gram_matrices(layers):
    inputs = {layer.path: [torch.randn(5, layer.inputs), torch.randn(9, layer.inputs)] for layer in layers}
    found = LayerInputs(None, inputs)
    found.check(layers, 2)
    path = layers[0].path
    expected = torch.stack([x.double().mT @ x.double() for x in inputs[path]])
    torch.testing.assert_close(found.compute_grams(path), expected)


def test_gram_matrices_are_taken_as_they_are(layers):
    grams = {layer.path: torch.eye(layer.inputs).repeat(2, 1, 1) for layer in layers}
    found = LayerInputs(grams, None)
    found.check(layers, 2)
    assert found.compute_grams(layers[0].path) is grams[layers[0].path]


def test_exactly_one_of_the_two_is_needed():
    with pytest.raises(ValueError, match=r"either grams .* or activations"):
        LayerInputs(None, None)
    with pytest.raises(ValueError, match=r"either grams .* or activations"):
        LayerInputs({}, {})


def test_what_is_missing_or_of_another_shape_is_named(layers):
    grams = {layers[0].path: torch.eye(12)}
    with pytest.raises(
        ValueError, match=r"must be \[2, 12, 12\], found \[12, 12\]; .* found nothing; .*\(and 1 more"
    ):
        LayerInputs(grams, None).check(layers, 2)
    activations = {layers[0].path: [torch.randn(5, 11), torch.randn(5, 12)]}
    with pytest.raises(
        ValueError, match=r"must be 2 of \[N, 12\], found \[\[5, 11\], \[5, 12\]\]; .* found \[\]"
    ):
        LayerInputs(None, activations).check(layers, 2)
