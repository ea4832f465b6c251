import pytest
import torch

from lorary.assembly import find_prototypes, load_model, prototypes
from lorary.errors import UnknownExpert
from lorary.library import Library
from lorary.transforms import library_prototypes


@pytest.fixture
def library(tmp_path, experts):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    return library


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


def test_prototypes_are_computed_once_per_library(library, computed, build_tiny_base):
    load_model(build_tiny_base(), library)
    assert sorted(computed[0]) == sorted(library)
    load_model(build_tiny_base(), library)
    load_model(build_tiny_base(), Library.open(library.url))
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
