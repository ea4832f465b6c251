import json

import pytest

from lorary.errors import FormatError
from lorary.experts import ExpertCard
from lorary.experts.sidecar import WeightSummary, build_sidecar, parse_sidecar, summarize_weights

CARD = {
    "tasks": ("sonnets", "haiku"),
    "tags": ("art",),
    "description": "Writes «poems».",
    "role": "general",
    "base_revision": "main",
    "base_fingerprint": "abc",
    "provenance": {"seed": 3, "data": {"rows": [1, 2]}},
    "parents": ("verse",),
    "scores": {"loss": 1.25},
    "fan_in_fan_out": True,
}
HASH = "0123456789abcdef" * 4


@pytest.fixture
def sidecar(make_expert):
    """What a sound file holds, as JSON reads it back."""
    return json.loads(json.dumps(build_sidecar(make_expert(**CARD), HASH, HASH)))


def test_a_card_reads_back_as_written(sidecar):
    known = parse_sidecar(sidecar, "expert.json")
    assert known.name == "poetry"
    assert known.base_model == "org/base"
    assert known.card == ExpertCard(**CARD)
    assert known.weights_sha256 == HASH
    assert known.summary == WeightSummary(num_parameters=56, num_modules=2, max_rank=2, dtype="float32")


def test_the_file_format_is_as_documented(sidecar):
    assert sidecar["lorary"] == 1
    assert list(sidecar) == [
        "lorary",
        "name",
        "base_model",
        *CARD,
        "summary",
        "weights_sha256",
        "config_sha256",
    ]


def test_the_least_a_card_may_say_is_name_and_base():
    known = parse_sidecar({"lorary": 1, "name": "x", "base_model": "b"}, "expert.json")
    assert known == ("x", "b", ExpertCard(), None, None, None)


def test_mixed_dtypes_are_summarized(make_expert):
    expert = make_expert()
    a, b = expert.factors["model.layers.0.q_proj"]
    expert.factors["model.layers.0.q_proj"] = type(expert.factors["model.layers.0.q_proj"])(a.bfloat16(), b)
    assert summarize_weights(expert).dtype == "bfloat16+float32"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": ["x"]}, "unknown key 'task': did you mean 'tasks'"),
        ({"lorary": 2}, "must be at most 1, found 2: upgrade lorary"),
        ({"lorary": 2, "colour": "red"}, "upgrade lorary"),
        ({"lorary": "1"}, "must have its version .* found '1'"),
        ({"lorary": True}, "must have its version .* found True"),
        ({"lorary": None}, "must have its version .* found None"),
        ({"name": "../x"}, r"must not begin with '\.', found '\.\./x'"),
        ({"name": 3}, "must be a string, found int 3"),
        ({"base_model": None}, "base_model must be a string, found None"),
        ({"tasks": "x"}, "tasks must be a tuple of strings, found 'x'"),
        ({"scores": {"loss": None}}, "scores must map names to numbers"),
        ({"weights_sha256": "abc"}, "weights_sha256 must be 64 hexadecimal digits, found 'abc'"),
        ({"summary": {"max_rank": 2}}, "summary must have num_parameters, num_modules, max_rank, dtype"),
        ({"summary": 3}, "summary must have"),
    ],
)
def test_a_malformed_card_is_refused_with_file_and_fault(sidecar, change, message):
    with pytest.raises(FormatError, match=f"'some/expert.json'.*{message}"):
        parse_sidecar({**sidecar, **change}, "some/expert.json")


def test_a_missing_name_is_refused():
    with pytest.raises(FormatError, match="key 'name' is missing; key 'base_model' is missing"):
        parse_sidecar({"lorary": 1}, "expert.json")


def test_all_faults_are_named_at_once(sidecar):
    with pytest.raises(FormatError) as caught:
        parse_sidecar({**sidecar, "nam": 1, "base_model": 2, "tags": 3}, "expert.json")
    for fault in ("unknown key 'nam'", "base_model must be", "tags must be"):
        assert fault in str(caught.value)
