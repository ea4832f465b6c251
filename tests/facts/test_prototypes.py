import json

import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.facts import prototypes
from lorary.facts.prototypes import find_prototypes
from lorary.library import Library
from lorary.transforms.prototypes import library_prototypes


@pytest.fixture
def computed(monkeypatch):
    """Names of the experts whose prototypes were computed, a list per call."""
    calls = []

    def count(experts, names=None):
        calls.append(list(experts))
        return library_prototypes(experts, names)

    monkeypatch.setattr(prototypes, "library_prototypes", count)
    return calls


def test_a_library_gives_what_its_experts_give(library, experts):
    names = ["prices", "narrow", "dates"]
    expected = library_prototypes(experts, names)
    for _ in range(2):
        found = find_prototypes(library, names)
        assert set(found) == set(expected)
        for path, (rows, gains) in found.items():
            torch.testing.assert_close(rows, expected[path][0])
            torch.testing.assert_close(gains, expected[path][1])


def test_experts_of_other_layers_have_zeros_in_those_they_leave_alone(library, experts, base, draw_expert):
    library.add(draw_expert(base, "queries", targets=["q_proj"]))
    library.add(draw_expert(base, "values", targets=["v_proj", "q_proj"]))
    names = ["queries", "prices", "values"]
    expected = library_prototypes(library, names)
    for _ in range(2):
        found = find_prototypes(library, names)
        assert list(found) == list(expected)
        for path, (rows, gains) in found.items():
            torch.testing.assert_close((rows, gains), expected[path])
            if "v_proj" in path:
                assert not rows[0].any() and gains[0] == 0 and gains[2] > 0


def test_prototypes_are_kept_in_a_few_tensors_that_take_no_time_to_read(library):
    find_prototypes(library)
    artifacts = library.artifacts(prototypes.ALGORITHM, {}, lambda batch: pytest.fail("computed again"))
    for artifact in artifacts.values():
        assert artifact.keys() == {"prototypes", "gains", "layout"}
        widths = json.loads(artifact["layout"].numpy().tobytes())
        assert sum(widths.values()) == len(artifact["prototypes"]) and len(widths) == len(artifact["gains"])


def test_experts_for_layers_of_another_width_are_refused(library, experts):
    path, (a, b) = next(iter(experts["prices"].factors.items()))
    wider = {path: Factors(torch.randn(2, a.shape[1] + 3), torch.randn(len(b), 2))}
    find_prototypes(library)
    library.add(Expert("wider", "other", wider))
    message = rf"input width of module '{path}' is \d+ for some experts and \d+ for expert '\w+'"
    with pytest.raises(IncompatibleExpert, match=message):
        find_prototypes(library)


def test_prototypes_are_computed_once_per_library(library, computed, build_tiny_base):
    load_model(build_tiny_base(), library, router="arrow")
    assert sorted(computed[0]) == sorted(library)
    load_model(build_tiny_base(), library, router="arrow")
    load_model(build_tiny_base(), Library.open(library.url), router="arrow")
    assert len(computed) == 1


def test_only_what_is_missing_is_computed(library, computed, base, draw_expert):
    find_prototypes(library)
    library.add(draw_expert(base, "late"))
    library.rename("morse", "signals")
    news = []
    find_prototypes(library, on_computed=news.append)
    assert computed[1:] == [["late"]]
    assert news == [["late"]]


def test_a_mapping_computes_all_each_time(experts):
    news = []
    for _ in range(2):
        find_prototypes(experts, on_computed=news.append)
    assert news == [list(experts)] * 2


def test_an_unknown_expert_is_refused(library):
    with pytest.raises(UnknownExpert, match="'price'"):
        find_prototypes(library, ["price"])
