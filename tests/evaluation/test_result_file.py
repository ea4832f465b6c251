import json

import pytest

from lorary.errors import FormatError
from lorary.evaluation.result_file import read_result, write_result

METRIC = {"name": "loss", "title": "x", "description": "y", "lower_is_better": True}
EXAMPLES = {"task": "dates", "metric": "loss", "ids": ["a", "b"]}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "result.json"
    write_result(path, {("dates", "base", "loss"): (0.1, 1 / 3)}, [{"seeds": {}}], {"usage": {}})
    return path


def test_floats_come_back_exactly(written):
    parts = read_result(written)
    assert parts.scores == {("dates", "base", "loss"): (0.1, 1 / 3)}
    assert parts.headers == ({"seeds": {}},)
    assert parts.attachments == {"usage": {}}


def test_a_result_that_json_cannot_hold_leaves_the_old_file_alone(written):
    before = written.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_result(written, {}, [{"settings": object()}], {})
    assert written.read_bytes() == before


def test_a_truncated_file_is_refused(written):
    written.write_bytes(written.read_bytes()[:-20])
    with pytest.raises(FormatError, match=r"result.json' must be a JSON file"):
        read_result(written)


def test_bytes_that_are_no_text_are_refused(written):
    written.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FormatError, match="must be a JSON file"):
        read_result(written)


@pytest.mark.parametrize("content", ["[]", "{}", '"text"'])
def test_json_of_another_kind_is_refused(written, content):
    written.write_text(content)
    with pytest.raises(FormatError, match="is not a lorary result: it must have 'lorary_result'"):
        read_result(written)


def test_a_format_from_the_future_is_refused(written):
    written.write_text(written.read_text().replace('"lorary_result": 1', '"lorary_result": 2'))
    with pytest.raises(
        FormatError, match="a result of format 2, this version of lorary reads 1: evaluate again"
    ):
        read_result(written)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scores": [{"task": "dates", "route": "base", "values": []}]},
            "'metric' must be a text, found None",
        ),
        (
            {"scores": [{"task": "d", "route": "b", "metric": "loss", "values": ["x"]}]},
            "values must be numbers, found 'x'",
        ),
        ({"scores": 3}, "'scores' must be a list, found 3"),
        ({"scores": [3]}, "a row of scores must be an object, found 3"),
        ({"scores": [{"task": 3}]}, "'task' must be a text, found 3"),
        ({"scores": [{"task": "d", "route": "b", "metric": "loss", "values": [True]}]}, "found True"),
        ({"headers": [1]}, r"headers must be objects, found \[1\]"),
        ({"attachments": [1]}, r"'attachments' must be an object, found \[1\]"),
        ({"metrics": {}}, "'metrics' must be a list"),
        ({"metrics": [1]}, "a row of metrics must be an object, found 1"),
        ({"metrics": [{**METRIC, "lower_is_better": 1}]}, "'lower_is_better' must be true or false, found 1"),
        ({"metrics": [{**METRIC, "name": "../x"}]}, "a metric's name must be letters"),
        ({"metrics": [METRIC, METRIC]}, "two rows of metrics named 'loss'"),
        ({"examples": [{"task": "d"}]}, "'metric' must be a text, found None"),
        ({"examples": [{**EXAMPLES, "ids": [1]}]}, "ids must be texts, found 1"),
        ({"examples": [EXAMPLES, EXAMPLES]}, "two rows of examples of task 'dates', metric 'loss'"),
    ],
)
def test_a_damaged_result_is_refused(written, change, message):
    written.write_text(json.dumps({**json.loads(written.read_text()), **change}))
    with pytest.raises(FormatError, match=f"is a damaged lorary result: .*{message}"):
        read_result(written)


def test_a_column_given_twice_is_refused(written):
    document = json.loads(written.read_text())
    document["scores"] *= 2
    written.write_text(json.dumps(document))
    with pytest.raises(FormatError, match="two rows of task 'dates', route 'base', metric 'loss'"):
        read_result(written)
