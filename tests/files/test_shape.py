import pytest

from lorary.files import check_shape


def test_depth_counts_the_value_itself():
    check_shape([["x"]], max_depth=3)
    with pytest.raises(ValueError, match="nests too deeply"):
        check_shape([["x"]], max_depth=2)


def test_shared_parts_count_as_often_as_they_are_met():
    shared = ["x"] * 10
    check_shape([shared] * 10, max_depth=9, max_count=111)
    with pytest.raises(ValueError, match="too many values"):
        check_shape([shared] * 10, max_depth=9, max_count=110)


@pytest.mark.parametrize("value", ["\ud800", ["a", "\udfff"], {"\ud900": 1}, {"a": {"b": "x\udc00"}}])
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(value):
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        check_shape(value, max_depth=9)
