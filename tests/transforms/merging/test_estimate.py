from lorary.transforms.merging import make_recipe
from lorary.transforms.merging.estimate import estimate_layer, measure_speed
from lorary.transforms.merging.job import prepare_merge


def test_more_work_costs_more(experts):
    costs = {}
    for method in ("linear", "ties", "della"):
        job = prepare_merge(experts, make_recipe(experts, method))
        costs[method] = estimate_layer(job, job.survey.layers[0], 4)
    assert costs["linear"].seconds < costs["ties"].seconds < costs["della"].seconds
    assert costs["linear"].num_bytes < costs["ties"].num_bytes


def test_a_machine_multiplies_at_some_speed():
    assert 1e8 < measure_speed() < 1e16
