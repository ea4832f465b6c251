import os

import pytest
import torch

from lorary.assembly.cache import find_place, keep_artifacts, load_artifact, save_artifact
from lorary.experts import Expert, Factors
from lorary.library import Library


@pytest.fixture
def computed():
    """Names of the experts of each call of ``compute``, which gives the sum of an expert's numbers."""
    calls = []

    def compute(experts):
        calls.append(list(experts))
        return {
            name: {"sum": torch.stack([pair.a.sum() + pair.b.sum() for pair in expert.factors.values()])}
            for name, expert in experts.items()
        }

    compute.calls = calls
    return compute


def test_an_artifact_comes_back_as_it_was(cache):
    place = find_place("abc", "test-1", {"size": 2})
    assert load_artifact(place) is None
    rows = torch.randn(4, 3)
    save_artifact(place, {"slice": rows[1:], "ids": torch.tensor([1, 2])})
    found = load_artifact(place)
    assert torch.equal(found["slice"], rows[1:]) and found["ids"].tolist() == [1, 2]
    assert place.is_relative_to(cache)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_other_sources_algorithms_and_parameters_have_other_places():
    places = {
        find_place("abc", "test-1", {"size": 2}),
        find_place("abd", "test-1", {"size": 2}),
        find_place("abc", "test-2", {"size": 2}),
        find_place("abc", "test-1", {"size": 3}),
    }
    assert len(places) == 4


def test_without_the_variable_the_cache_is_in_the_users_home(monkeypatch, tmp_path):
    monkeypatch.delenv("LORARY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_place("abc", "test-1", {}).is_relative_to(tmp_path / ".cache" / "lorary")


def test_a_damaged_artifact_is_none(cache):
    place = find_place("abc", "test-1", {})
    save_artifact(place, {"rows": torch.ones(3)})
    place.write_bytes(place.read_bytes()[:-5])
    assert load_artifact(place) is None


def test_a_bit_that_flips_a_pipe_or_a_link_counts_as_missing(cache, tmp_path):
    place = find_place("abc", "test-1", {})
    save_artifact(place, {"rows": torch.ones(300)})
    content = bytearray(place.read_bytes())
    content[-700] ^= 1
    place.write_bytes(content)
    assert load_artifact(place) is None
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert load_artifact(place) is None
    place.unlink()
    os.mkfifo(place)
    assert load_artifact(place) is None
    save_artifact(place, {"rows": torch.ones(3)})
    assert load_artifact(place).keys() == {"rows"}


def test_the_cache_is_its_users_alone(cache):
    cache.mkdir(mode=0o777)
    save_artifact(find_place("abc", "test-1", {}), {"rows": torch.ones(3)})
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORARY_CACHE", os.fspath(tmp_path / "file"))
    place = find_place("abc", "test-1", {})
    save_artifact(place, {"rows": torch.ones(3)})
    assert load_artifact(place) is None


def test_experts_of_a_mapping_are_known_by_their_weights(experts, computed):
    first = keep_artifacts(experts, ["dates", "morse"], "test-1", {}, computed)
    renamed = {"signals": experts["morse"], "prices": experts["prices"]}
    again = keep_artifacts(renamed, ["prices", "signals"], "test-1", {}, computed)
    assert computed.calls == [["dates", "morse"], ["prices"]]
    assert torch.equal(again["signals"]["sum"], first["morse"]["sum"])
    path, pair = next(iter(experts["morse"].factors.items()))
    other = Expert("morse", "", {**experts["morse"].factors, path: Factors(pair.a, pair.b.clone() + 1e-3)})
    keep_artifacts({"morse": other}, ["morse"], "test-1", {}, computed)
    assert computed.calls[2:] == [["morse"]]


def test_bfloat16_experts_can_be_told_apart(computed):
    def make(number):
        pair = Factors(torch.full((1, 3), number).bfloat16(), torch.ones(2, 1).bfloat16())
        return Expert("one", "", {"layer": pair})

    for number in (1.0, 2.0, 1.0):
        keep_artifacts({"one": make(number)}, ["one"], "test-1", {}, computed)
    assert len(computed.calls) == 2


def test_a_library_keeps_its_own(tmp_path, cache, experts, computed):
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add(experts["dates"])
    for _ in range(2):
        keep_artifacts(library, ["dates"], "test-1", {}, computed)
    assert computed.calls == [["dates"]]
    assert not cache.exists()
