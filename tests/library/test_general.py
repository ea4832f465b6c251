"""Libraries with experts that build on a general expert."""

from dataclasses import replace

import pytest
import torch

from lorary.errors import LibraryError
from lorary.experts import Expert, ExpertCard, Factors, add_general, hash_weights
from lorary.library import Library
from lorary.library.general import find_general, list_generals
from lorary.library.key import Key


def make(name, seed, **card):
    generator = torch.Generator().manual_seed(seed)
    pair = Factors(torch.randn(2, 6, generator=generator), torch.randn(4, 2, generator=generator))
    return Expert(name, "org/base", {"layer": pair}, ExpertCard(**card))


@pytest.fixture
def general():
    return make("common", 0, role="general")


@pytest.fixture(params=["memory", "local"])
def library(request, general, tmp_path):
    url = f"memory://general-{tmp_path.name}" if request.param == "memory" else str(tmp_path / "library")
    library = Library.open(url, create=True)
    weights = hash_weights(general)
    experts = {name: make(name, seed, on_top_of=weights) for seed, name in enumerate(("sql", "law"), 1)}
    library.add_all({"common": general, **experts, "plain": make("plain", 9)})
    return library


def test_the_card_is_kept_and_the_general_expert_is_found_by_its_hash(library, general):
    weights = hash_weights(general)
    assert library["sql"].card.on_top_of == weights == library.weight_hashes()["common"]
    library.rename("common", "shared")
    library.copy("sql", "sql-copy")
    assert library["sql-copy"].card.on_top_of == weights
    assert find_general(library, weights) == find_general(library.routed(), weights) == "shared"
    assert find_general(dict(library.items()), weights) == "shared"
    assert list_generals(library.routed()) == ["shared"]
    assert library.verify() == []
    summed = add_general(library["sql"], library)
    a, b = summed.factors["layer"]
    pairs = [library[name].factors["layer"] for name in ("shared", "sql")]
    torch.testing.assert_close(b @ a, sum(pair.b @ pair.a for pair in pairs))
    assert (summed.card.on_top_of, summed.max_rank) == (None, 4)


def test_its_role_stays_while_others_stand_on_it(library):
    told = r"'common' .* must keep the role general, because 2 experts build on it \('law', 'sql'\)"
    with pytest.raises(LibraryError, match=told):
        library.annotate("common", role="expert")
    library.annotate("common", role="general", tags=["shared"])
    library.annotate("sql", role="control")
    library.remove_all(["sql", "law"])
    library.annotate("common", role="expert")
    assert list_generals(library) == []


def test_removing_or_replacing_it_is_refused_while_others_stand_on_it(library, general):
    with pytest.raises(LibraryError, match=r"'common' .* because 2 experts build on it \('law', 'sql'\)"):
        del library["common"]
    with pytest.raises(LibraryError, match="must stay unchanged"):
        library["common"] = make("common", 5, role="general")
    library["common"] = replace(general, card=replace(general.card, description="the same weights"))
    library.copy("common", "other")
    del library["common"]
    library.remove_all(["other", "sql", "law"])
    assert list(library) == ["plain"]


def test_one_that_is_missing_is_reported(library, tmp_path):
    bare = Library.open(str(tmp_path / "bare"), create=True)
    bare.add(library["sql"])
    (problem,) = bare.verify()
    assert problem.expert == "sql"
    assert "builds on a general expert" in problem.message
    assert "that the library lacks: add it" in problem.message


def test_an_adapter_without_a_card_is_found_too(library, general, tmp_path):
    bare = Library.open(str(tmp_path / "bare"), create=True)
    bare.add_all({"common": general, "sql": library["sql"]})
    (tmp_path / "bare" / "common" / "expert.json").unlink()
    assert find_general(bare, hash_weights(general)) == "common"


def test_pruning_removes_artifacts_that_were_read_with_an_absent_general_expert(library, general):
    (subject,) = library.artifacts.make_key("x-1", {}, ["sql"]).subjects
    for weights in (hash_weights(general), "0" * 64):
        library.artifacts.save(Key("x-1", {"general": weights}, (subject,)), {"x": torch.ones(1)})
    pruned = library.prune()
    assert (pruned.num_removed, pruned.num_kept) == (1, 1)


def test_a_hash_is_checked_and_written_only_where_it_is_set(library, tmp_path):
    with pytest.raises(ValueError, match="on_top_of must be the SHA-256 of a general expert's weights"):
        ExpertCard(on_top_of="common")
    if "://" not in library.url:
        texts = {name: (tmp_path / "library" / name / "expert.json").read_text() for name in ("sql", "plain")}
        assert '"on_top_of"' in texts["sql"]
        assert "on_top_of" not in texts["plain"]
        readme = (tmp_path / "library" / "sql" / "README.md").read_text()
        assert "Alone it is not the\nexpert" in readme
