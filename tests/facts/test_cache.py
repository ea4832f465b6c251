import os

import pytest
import torch

from lorary.experts import Expert, Factors
from lorary.facts.cache import Cache
from lorary.facts.keeping import keep_artifacts
from lorary.library import Library
from lorary.library.key import Key


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
    key = Key("test-1", {"size": 2}, ("abc",))
    place = Cache().name_place(key)
    assert Cache().load(key) is None
    rows = torch.randn(4, 3)
    Cache().save(key, {"slice": rows[1:], "ids": torch.tensor([1, 2])})
    found = Cache().load(key)
    assert torch.equal(found["slice"], rows[1:]) and found["ids"].tolist() == [1, 2]
    assert place.is_relative_to(cache)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_other_sources_algorithms_and_parameters_have_other_places():
    places = {
        Cache().name_place(Key("test-1", {"size": 2}, ("abc",))),
        Cache().name_place(Key("test-1", {"size": 2}, ("abd",))),
        Cache().name_place(Key("test-2", {"size": 2}, ("abc",))),
        Cache().name_place(Key("test-1", {"size": 3}, ("abc",))),
    }
    assert len(places) == 4


def test_without_the_variable_the_cache_is_in_the_users_home(monkeypatch, tmp_path):
    monkeypatch.delenv("LORARY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache().name_place(Key("test-1", {}, ("abc",))).is_relative_to(tmp_path / ".cache" / "lorary")


def test_a_damaged_artifact_is_none(cache):
    key = Key("test-1", {}, ("abc",))
    place = Cache().name_place(key)
    Cache().save(key, {"rows": torch.ones(3)})
    place.write_bytes(place.read_bytes()[:-5])
    assert Cache().load(key) is None


def test_a_bit_that_flips_a_pipe_or_a_link_counts_as_missing(cache, tmp_path):
    key = Key("test-1", {}, ("abc",))
    place = Cache().name_place(key)
    Cache().save(key, {"rows": torch.ones(300)})
    content = bytearray(place.read_bytes())
    content[-700] ^= 1
    place.write_bytes(content)
    assert Cache().load(key) is None
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert Cache().load(key) is None
    place.unlink()
    os.mkfifo(place)
    assert Cache().load(key) is None
    Cache().save(key, {"rows": torch.ones(3)})
    assert Cache().load(key).keys() == {"rows"}


def test_the_cache_is_its_users_alone(cache):
    cache.mkdir(mode=0o777)
    Cache().save(Key("test-1", {}, ("abc",)), {"rows": torch.ones(3)})
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORARY_CACHE", os.fspath(tmp_path / "file"))
    key = Key("test-1", {}, ("abc",))
    Cache().save(key, {"rows": torch.ones(3)})
    assert Cache().load(key) is None


def test_experts_of_a_mapping_are_known_by_their_weights(experts, computed):
    first = keep_artifacts(experts, "test-1", {"dates": {}, "morse": {}}, computed)
    renamed = {"signals": experts["morse"], "prices": experts["prices"]}
    again = keep_artifacts(renamed, "test-1", {"prices": {}, "signals": {}}, computed)
    assert computed.calls == [["dates", "morse"], ["prices"]]
    assert torch.equal(again["signals"]["sum"], first["morse"]["sum"])
    path, pair = next(iter(experts["morse"].factors.items()))
    other = Expert("morse", "", {**experts["morse"].factors, path: Factors(pair.a, pair.b.clone() + 1e-3)})
    keep_artifacts({"morse": other}, "test-1", {"morse": {}}, computed)
    assert computed.calls[2:] == [["morse"]]


def test_bfloat16_experts_can_be_told_apart(computed):
    def make(number):
        pair = Factors(torch.full((1, 3), number).bfloat16(), torch.ones(2, 1).bfloat16())
        return Expert("one", "", {"layer": pair})

    for number in (1.0, 2.0, 1.0):
        keep_artifacts({"one": make(number)}, "test-1", {"one": {}}, computed)
    assert len(computed.calls) == 2


def test_a_library_keeps_its_own(tmp_path, cache, experts, computed):
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add(experts["dates"])
    for _ in range(2):
        keep_artifacts(library, "test-1", {"dates": {}}, computed)
    assert computed.calls == [["dates"]]
    assert not cache.exists()
