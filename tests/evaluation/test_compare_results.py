import pytest

from lorary.evaluation import Result
from lorary.evaluation.columns import Record
from lorary.evaluation.compare import paired_difference
from lorary.evaluation.compare_results import pair_results
from lorary.evaluation.measures import Metric

NAMES = ("a.json", "b.json")
VALUES = (1.0, 3.0, 2.0, 5.0, 4.0)


def make(route="base", shift=0.0, ids="vwxyz", settings=None, task="t"):
    records = [
        Record(task, route, "loss", value + shift, each) for value, each in zip(VALUES, ids, strict=True)
    ]
    return Result.from_records(records, {"settings": settings or {}})


def test_examples_are_paired_by_their_ids():
    second = make(shift=-1.0, ids="zyxwv")
    paired = pair_results(make(), second, NAMES)
    (found,) = paired.differences("loss")
    assert (found.route, found.against) == ("base (b.json)", "base (a.json)")
    by_id = dict(zip("zyxwv", VALUES, strict=True))
    expected = [by_id[each] - 1 - value for each, value in zip("vwxyz", VALUES, strict=True)]
    assert found.mean == pytest.approx(sum(expected) / 5)
    assert found.num_examples == 5 and paired.num_left_out == 0


def test_examples_of_one_result_only_are_left_out_and_counted():
    paired = pair_results(make(ids="vwxyz"), make(ids="xyzab"), NAMES)
    (found,) = paired.differences("loss")
    assert found.num_examples == 3 and paired.num_left_out == 4


def test_single_routes_are_compared_whatever_their_names_and_differing_settings_are_told():
    settings = {"chat template": "off", "data": {"t": "1"}}, {"chat template": "on", "data": {"t": "2"}}
    paired = pair_results(
        make("base", 0, settings=settings[0]), make("arrow", -1, settings=settings[1]), NAMES
    )
    (found,) = paired.differences("loss")
    assert found.mean == pytest.approx(-1)
    assert paired.changed == {"chat template": ("off", "on")}


def test_of_settings_with_parts_only_the_parts_that_differ_are_told():
    """The seed was cut off at the end of both texts."""
    one, two = {"seed": 0, "batch_size": 16}, {"seed": 7, "batch_size": 16}
    paired = pair_results(make(settings={"evaluation": one}), make(settings={"evaluation": two}), NAMES)
    assert paired.changed == {"evaluation": ({"seed": 0}, {"seed": 7})}


def test_a_metric_of_different_kinds_has_no_title_of_one_of_them():
    first, second = (
        Result.from_records(
            [("t", "base", "acc", 1.0, "v"), ("t", "base", "acc", 0.0, "w")],
            metrics=[Metric(name="acc", title=title, description="x", lower_is_better=False)],
        )
        for title in ("acc, chat template on", "acc, chat template off")
    )
    (found,) = pair_results(first, second, NAMES).differences("acc")
    assert found.metric.title == "acc"
    (found,) = pair_results(first, first, NAMES).differences("acc")
    assert found.metric.title == "acc, chat template on"


def test_all_common_routes_are_corrected_together():
    first = make().merge(make("arrow"))
    second = make(shift=0.1).merge(make("arrow", 0.2, ids="wvxyz"))
    paired = pair_results(first, second, NAMES)
    found = paired.differences("loss")
    assert [each.route for each in found] == ["base (b.json)", "arrow (b.json)"]
    alone = [paired_difference(paired.result, "loss", each.route, each.against).p_value for each in found]
    assert [each.p_value for each in found] == alone
    assert found[1].adjusted_p >= alone[1]


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (make(), make(ids="abcde"), "must have an example in common, found none"),
        (make(), make(task="u"), "must have an example in common"),
        (
            make().merge(make("one")),
            make("two"),
            r"need a route in common, found \['base', 'one'\] in a.json",
        ),
        (Result({}), make(), "a.json must have values, found none"),
        (make(), Result({("t", "base", "loss"): VALUES}), "b.json has no ids of its examples"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(first, second, fault):
    with pytest.raises(ValueError, match=fault):
        pair_results(first, second, NAMES)
