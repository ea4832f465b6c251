import pytest

from lorary.evaluation.measures import MEASURES, describe_metrics, find_measures, find_metric, list_metrics


def test_losses_and_perplexities_are_better_when_lower():
    found = [name for name, metric in list_metrics().items() if metric.lower_is_better]
    assert found == ["loss", "perplexity", "target_bits_per_byte"]


def test_each_metric_belongs_to_one_measure():
    names = [metric.name for measure in MEASURES.values() for metric in measure.metrics]
    assert sorted(names) == sorted(list_metrics())
    assert {
        "loss",
        "exact_match",
        "rouge_l",
        "accuracy_sum",
        "accuracy_per_token",
        "accuracy_per_byte",
    } <= set(names)


def test_the_measure_of_several_metrics_is_found_once_and_in_the_order_asked_for():
    found = find_measures(["accuracy_per_byte", "loss", "accuracy_sum"])
    assert found == [MEASURES["accuracy"], MEASURES["loss"]]


def test_help_says_of_every_metric_what_it_is_and_which_way_is_better():
    text = describe_metrics()
    assert "loss (mean negative log-likelihood of the target's tokens; lower is better)" in text
    for metric in list_metrics().values():
        assert f"{metric.name} ({metric.description}; " in text


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no metric is called 'rouge': did you mean 'rouge_l'"):
        find_metric("rouge")
