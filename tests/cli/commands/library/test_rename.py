import torch


def test_the_expert_has_its_new_name_and_its_old_weights(lorary, library):
    before = library["sql"].factors["layers.0.proj"].a.clone()
    code, output, _ = lorary("library", "rename", library.url, "sql", "queries")
    assert code == 0
    assert output.startswith(f"renamed expert 'sql' to 'queries' in library {library.url!r}\n")
    assert sorted(library) == ["card games", "poetry", "queries"]
    assert torch.equal(library["queries"].factors["layers.0.proj"].a, before)


def test_a_taken_name_is_refused(lorary, library):
    code, _, errors = lorary("library", "rename", library.url, "sql", "poetry")
    assert code == 2
    assert "already has an expert 'poetry'" in errors
    assert len(library) == 3


def test_an_unknown_expert_is_refused(lorary, library):
    code, _, errors = lorary("library", "rename", library.url, "chess", "go")
    assert code == 2
    assert "has no expert 'chess'" in errors
