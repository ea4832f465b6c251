import torch


def test_a_layer_knows_its_shape_and_dtype(make_layer):
    layer = make_layer((20, 12), dtype=torch.float32)
    assert layer.shape == (20, 12) and layer.dtype == torch.float32


def test_densities_are_the_experts_own_or_one_for_all(make_layer):
    assert make_layer().spread("density", 0.3) == (0.3, 0.3, 0.3)
    layer = make_layer(own={"density": (0.1, 0.2, 0.4)})
    assert layer.spread("density", 0.3) == (0.1, 0.2, 0.4)
    assert layer.spread("gamma", 0.3) == (0.3, 0.3, 0.3)
