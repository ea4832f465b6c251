"""Keys say what an artifact was computed from, and are equal only where that is the same."""

import pytest

from lorary.library.key import Key

HASH, OTHER = "0" * 64, "1" * 64


def test_keys_differ_by_subjects_algorithm_and_parameters_and_not_by_the_order_of_parameters():
    keys = [
        Key("a", {"x": 1, "y": 2}, (HASH,)),
        Key("a", {"x": 1, "y": 2}, (OTHER,)),
        Key("b", {"x": 1, "y": 2}, (HASH,)),
        Key("a", {"x": 1, "y": 3}, (HASH,)),
        Key("a", {"x": 1}, (HASH,)),
        Key("a", {"x": 1, "y": 2}, (HASH, OTHER)),
        Key("a", {"x": 1, "y": 2}, (OTHER, HASH)),
    ]
    assert len({key.digest for key in keys}) == len(set(keys)) == len(keys)
    assert Key("a", {"y": 2, "x": 1}, (HASH,)) == keys[0]
    assert Key("a", {"y": 2, "x": 1}, (HASH,)).digest == keys[0].digest


def test_a_single_experts_key_is_that_of_earlier_versions():
    digest = "7c21665e16251f225d8306d4ade3467e5a6c12251afdd016680993d84586e8a4"
    assert Key("arrow-prototypes-2", {}, (HASH,)).digest == digest


def test_parameters_that_change_later_do_not_change_the_key():
    parameters = {"x": [1, 2]}
    key = Key("a", parameters, (HASH,))
    parameters["x"].append(3)
    assert key == Key("a", {"x": [1, 2]}, (HASH,))


def test_a_key_without_a_subject_or_with_an_unsafe_algorithm_is_refused():
    with pytest.raises(ValueError, match="an artifact of 'a' must have a subject, found none"):
        Key("a", {}, ())
    with pytest.raises(ValueError, match="name must not"):
        Key("../outside", {}, (HASH,))
    with pytest.raises(TypeError, match="parameters must be JSON values"):
        Key("a", {"x": object()}, (HASH,))
