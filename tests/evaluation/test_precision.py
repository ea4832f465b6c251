import pytest

from lorary.evaluation.precision import find_batch_note, say_precision


def make_headers(*dtypes, **more):
    return tuple({"settings": {"dtype": dtype, **more}} for dtype in dtypes)


def test_the_precision_of_results_is_said():
    assert say_precision(make_headers("float32")) == "measured in float32"
    assert say_precision(make_headers("float32", "float32", "bfloat16")) == "measured in float32 and bfloat16"
    quantised = make_headers("float32", quantization="4bit")
    assert say_precision(quantised) == "measured in float32, weights quantised by 4bit"
    moved = make_headers("float32", rounded=["bfloat16"])
    assert say_precision(moved) == "measured in float32, weights rounded to bfloat16"


@pytest.mark.parametrize("headers", [(), ({},), ({"settings": 3},), ({"settings": {"dtype": None}},)])
def test_headers_of_earlier_versions_say_nothing(headers):
    assert say_precision(headers) is None and find_batch_note(headers) is None


def test_only_short_dtypes_depend_on_the_batch():
    assert find_batch_note(make_headers("float32")) is None
    assert find_batch_note(make_headers("bfloat16", "float32")) == (
        "in bfloat16, an answer may depend on the other examples of its batch; float32 is the default"
    )


def test_headers_from_elsewhere_are_escaped():
    assert "\x1b" not in say_precision(make_headers("\x1b[2J")) + find_batch_note(make_headers("\x1b[2J"))
