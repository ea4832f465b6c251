import torch


def test_both_have_the_same_weights(lorary, library):
    code, output, _ = lorary("library", "copy", library.url, "sql", "sql-2")
    assert code == 0
    assert output.startswith(f"copied expert 'sql' to 'sql-2' in library {library.url!r}\n")
    first, second = (library[name].factors["layers.0.proj"] for name in ("sql", "sql-2"))
    assert torch.equal(first.a, second.a)
    assert torch.equal(first.b, second.b)


def test_a_taken_name_is_refused(lorary, library):
    code, _, errors = lorary("library", "copy", library.url, "sql", "poetry")
    assert code == 2
    assert "already has an expert 'poetry'" in errors


def test_an_unknown_expert_is_refused(lorary, library):
    code, _, errors = lorary("library", "copy", library.url, "chess", "go")
    assert code == 2
    assert "has no expert 'chess'" in errors
