import json
from math import inf, nan, sqrt
from pathlib import Path

import numpy as np
import pytest

from lorary.errors import FormatError
from lorary.evaluation import Result
from lorary.evaluation.columns import Record
from lorary.evaluation.measures import Metric, find_metric

TOKENS = Metric(name="tokens", title="tokens", description="tokens of an answer", lower_is_better=True)
PASSED = Metric(name="pass@1", title="passed", description="whether the tests pass")


def test_a_mean_and_its_error_are_those_of_the_examples(small_result):
    assert small_result.mean("morse", "oracle", "loss") == 2.0
    # Deviations -1, -1, 2: sample variance 3, over 3 examples.
    assert small_result.standard_error("morse", "oracle", "loss") == pytest.approx(1.0)


def test_standard_errors_equal_numpy(noisy_result):
    for key, values in noisy_result.scores.items():
        expected = np.std(values, ddof=1) / np.sqrt(len(values))
        assert noisy_result.standard_error(*key) == pytest.approx(expected, rel=1e-12)


def test_the_mean_over_tasks_counts_each_task_the_same(small_result):
    overall = small_result.overall("base", "loss")
    # Tasks 5 and 4, though morse has more examples; task errors 1 and 1.
    assert overall.mean == 4.5
    assert overall.standard_error == pytest.approx(sqrt(1 + 1) / 2)
    assert overall.standard_error_across_tasks == pytest.approx(sqrt(0.5) / sqrt(2))
    assert overall.num_tasks == 2


def test_the_mean_over_chosen_tasks_leaves_the_others_out(small_result):
    overall = small_result.overall("base", "loss", tasks=["dates"])
    assert overall == (5.0, 1.0, None, 1)


def test_one_example_has_a_mean_but_no_error():
    result = Result.from_records([("dates", "base", "loss", 2.0)])
    assert result.mean("dates", "base", "loss") == 2.0
    assert result.standard_error("dates", "base", "loss") is None
    assert result.overall("base", "loss").standard_error is None


def test_values_keep_the_order_of_the_examples(small_result):
    assert small_result.values("morse", "arrow", "loss") == (0.0, 1.0, 2.0)


def test_routes_keep_the_order_in_which_they_came():
    """Guards a bug: routes were sorted, so that tables did not follow ``--routes``."""
    routes = ["oracle", "mystery", "arrow top-2", "uniform", "arrow", "multi-task", "base", "random"]
    result = Result.from_records([("dates", route, "loss", 1.0) for route in routes])
    assert result.routes == tuple(routes)
    later = Result.from_records([("dates", "single", "loss", 1.0), ("morse", "base", "loss", 1.0)])
    assert result.merge(later).routes == (*routes, "single")


@pytest.mark.parametrize("metric", [TOKENS, PASSED], ids=lambda metric: metric.name)
def test_any_metric_is_kept_with_its_direction(metric, tmp_path):
    records = [("dates", route, metric.name, value) for route, value in (("base", 1.0), ("arrow", 2.0))]
    result = Result.from_records(records, metrics=[metric])
    assert result.metric_of == {metric.name: metric}
    result.to_json(tmp_path / "result.json")
    found = Result.from_json(tmp_path / "result.json")
    assert found == result
    assert found.metric_of[metric.name].lower_is_better == metric.lower_is_better
    # Merging with results of this version's metrics keeps both.
    both = found.merge(Result.from_records([("dates", "base", "loss", 1.0)]))
    assert both.metric_of == {metric.name: metric, "loss": find_metric("loss")}


def test_a_metric_with_two_directions_is_refused():
    wrong = Metric(name="loss", title="x", description="y")
    records = [("dates", "base", "loss", 1.0)]
    with pytest.raises(
        ValueError, match="metric 'loss' must have one direction, found that lower and higher"
    ):
        Result.from_records(records, metrics=[wrong])
    other = Metric(name="tokens", title="x", description="y")
    one, two = (
        Result.from_records([("dates", route, "tokens", 1.0)], metrics=[metric])
        for route, metric in (("base", TOKENS), ("arrow", other))
    )
    with pytest.raises(ValueError, match="metric 'tokens' must have one direction"):
        one.merge(two)


def test_an_unknown_metric_of_a_file_is_refused(tmp_path):
    Result.from_records([("dates", "base", "tokens", 1.0)], metrics=[TOKENS]).to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    del document["metrics"]
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="no metric is called 'tokens'"):
        Result.from_json(tmp_path / "r.json")


def test_a_result_keeps_the_ids_of_its_examples(tmp_path):
    records = [
        Record("dates", route, "loss", value, example)
        for route in ("base", "arrow")
        for value, example in ((1.0, "x"), (2.0, "y"))
    ]
    result = Result.from_records(records)
    assert result.example_ids == {("dates", "loss"): ("x", "y")}
    result.to_json(tmp_path / "result.json")
    assert Result.from_json(tmp_path / "result.json") == result


def test_merging_pairs_examples_by_their_ids_whatever_their_order():
    base = Result.from_records([Record("dates", "base", "loss", v, e) for v, e in ((1.0, "x"), (5.0, "y"))])
    arrow = Result.from_records([Record("dates", "arrow", "loss", v, e) for v, e in ((4.0, "y"), (0.0, "x"))])
    merged = base.merge(arrow)
    assert merged.values("dates", "arrow", "loss") == (0.0, 4.0)
    assert merged.example_ids == {("dates", "loss"): ("x", "y")}
    other = Result.from_records([Record("dates", "arrow", "loss", v, e) for v, e in ((4.0, "z"), (0.0, "x"))])
    with pytest.raises(
        ValueError, match="of task 'dates' and 'loss' example 'y' was measured under only some"
    ):
        base.merge(other)


def test_results_with_and_without_ids_merge_by_order():
    base = Result.from_records([Record("dates", "base", "loss", v, e) for v, e in ((1.0, "x"), (5.0, "y"))])
    merged = Result.from_records([("dates", "arrow", "loss", v) for v in (0.0, 4.0)]).merge(base)
    assert merged.values("dates", "arrow", "loss") == (0.0, 4.0)
    assert merged.example_ids == {("dates", "loss"): ("x", "y")}


def test_ids_that_name_no_example_are_refused():
    scores = {("dates", "base", "loss"): (1.0, 2.0)}
    for ids in (("x",), ("x", "x"), ("x", "y", "z")):
        with pytest.raises(
            ValueError, match="2 values of 'loss', so it must have as many different example ids"
        ):
            Result(scores, example_ids={("dates", "loss"): ids})


def test_a_result_of_an_earlier_version_still_opens():
    """The file was written by 0.1.0, which knew neither ids nor the directions of metrics."""
    result = Result.from_json(Path(__file__).parent / "result_0.1.0.json")
    assert result.routes == ("oracle", "base", "arrow")
    assert result.values("morse", "arrow", "loss") == (0.0, 1.0, 2.0)
    assert result.metric_of == {"loss": find_metric("loss")}
    assert result.example_ids == {}


def test_json_brings_everything_back(noisy_result, small_result, tmp_path):
    result = noisy_result.merge(
        Result({("ünï|code", "base", "exact_match"): (1.0,)}, ({"seeds": {"data": 1}},))
    )
    path = tmp_path / "new folder" / "result.json"
    for made in (result, small_result):
        made.to_json(path)
        assert Result.from_json(path) == made
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_merging_joins_columns_headers_and_nested_attachments(small_result):
    other = Result(
        {("dates", "uniform", "loss"): (1.0, 2.0)}, ({"date": "later"},), {"usage": {"uniform": 0.25}}
    )
    merged = small_result.merge(other)
    assert merged.values("dates", "uniform", "loss") == (1.0, 2.0)
    assert merged.values("dates", "base", "loss") == (4.0, 6.0)
    assert [header["date"] for header in merged.headers] == ["2026-01-01", "later"]
    assert merged.attachments == {"usage": {"arrow": 0.5, "uniform": 0.25}}
    assert small_result.attachments == {"usage": {"arrow": 0.5}}


def test_merging_results_of_one_run_keeps_its_header_once(small_result):
    same_run = Result({("plurals", "base", "loss"): (1.0,)}, small_result.headers)
    assert small_result.merge(same_run).headers == small_result.headers


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_number_that_is_not_finite_names_task_route_and_example(bad):
    with pytest.raises(
        ValueError, match="'loss' of task 'dates' under route 'arrow' must be a finite number"
    ) as e:
        Result.from_records([("dates", "arrow", "loss", 1.0), ("dates", "arrow", "loss", bad)])
    assert f"found {bad!r} at example 1" in str(e.value)


def test_routes_measured_on_different_examples_are_refused():
    with pytest.raises(
        ValueError, match="task 'dates' has 2 values of 'loss' under route 'base' and 1 under 'arrow'"
    ):
        Result({("dates", "base", "loss"): (1.0, 2.0), ("dates", "arrow", "loss"): (1.0,)})


def test_an_empty_column_is_refused():
    with pytest.raises(ValueError, match="task 'dates' under route 'base' has none of 'loss'"):
        Result({("dates", "base", "loss"): ()})


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="no metric is called 'los': did you mean 'loss'"):
        Result.from_records([Record("dates", "base", "los", 1.0)])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("date", "base", "loss"), "no task 'date': did you mean 'dates'"),
        (("dates", "bose", "loss"), "no route 'bose': did you mean 'base'"),
        (("dates", "base", "rouge_l"), "no metric 'rouge_l': known are loss"),
    ],
)
def test_asking_for_what_is_not_there_says_what_is(small_result, key, message):
    with pytest.raises(ValueError, match=message):
        small_result.mean(*key)


def test_a_route_without_tasks_has_no_mean(small_result):
    with pytest.raises(ValueError, match="no task has a value of 'loss' under route 'uniform'"):
        small_result.overall("uniform", "loss")


def test_merging_the_same_column_twice_is_refused(small_result):
    with pytest.raises(ValueError, match="both have 'loss' of task 'dates' under route 'base'"):
        small_result.merge(small_result)


def test_merging_contradicting_attachments_is_refused(small_result):
    other = Result({("plurals", "base", "loss"): (1.0,)}, (), {"usage": {"arrow": 0.75}})
    with pytest.raises(ValueError, match=r"results must agree on attachments\['usage'\]\['arrow'\]"):
        small_result.merge(other)


def test_a_file_with_a_nan_is_no_sound_result(small_result, tmp_path):
    path = tmp_path / "result.json"
    small_result.to_json(path)
    path.write_text(path.read_text().replace("6.0", "NaN", 1))
    with pytest.raises(FormatError, match=r"result.json' must be a JSON file, .*NaN is not a JSON number"):
        Result.from_json(path)


def test_one_metric_with_two_directions_is_refused():
    up, down = (Metric(name="speed", title="speed", description="It.", lower_is_better=low) for low in (0, 1))
    with pytest.raises(ValueError, match="metric 'speed' must have one definition, found two"):
        Result.from_records([("task", "base", "speed", 1.0)], metrics=[up, down])
