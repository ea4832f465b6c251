from dataclasses import replace

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


@pytest.mark.parametrize("new_path", ["language_model.{}", "{}"])
def test_inputs_of_a_text_model_are_those_of_a_multimodal_models_experts(layers, new_path):
    """Experts of the other class were refused after all inputs had been collected."""
    grams = {new_path.format(layer.path): torch.eye(layer.inputs).repeat(2, 1, 1) for layer in layers}
    for path in (layers[0].path, f"language_model.{layers[0].path}"):
        assert LayerInputs(grams, None).compute_grams(path) is grams[new_path.format(layers[0].path)]
    activations = {path: [gram[0], gram[1]] for path, gram in grams.items()}
    renamed = [replace(layer, path=f"language_model.{layer.path}") for layer in layers]
    LayerInputs(None, activations).check(renamed, 2)


def test_inputs_that_could_be_of_two_layers_are_refused(layers):
    grams = {
        f"{part}.{layer.path}": torch.eye(layer.inputs).repeat(2, 1, 1)
        for layer in layers
        for part in ("language_model", "language_model.language_model")
    }
    with pytest.raises(ValueError, match="found nothing"):
        LayerInputs(grams, None).check(layers, 2)


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
