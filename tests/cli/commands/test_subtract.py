import json

import torch

from lorary.experts import Expert, Factors
from lorary.library import Library


def test_a_new_library_holds_all_others(lorary, library, tmp_path):
    out = tmp_path / "rest"
    code, output, _ = lorary("subtract", library.url, "sql", "--out", str(out), "--scale", "0.5")
    assert code == 0
    assert f"2 experts without sql, rank up to 4: {out}" in output
    assert f"next: lorary generate {out} PROMPT" in output
    rest, (path,) = Library.open(str(out)), library["sql"].factors
    assert sorted(rest) == ["card games", "poetry"]
    for name, expert in rest.items():
        (a, b), own, taken = (each.factors[path] for each in (expert, library[name], library["sql"]))
        torch.testing.assert_close(b @ a, own.b @ own.a - 0.5 * taken.b @ taken.a)
    assert rest["poetry"].card.tasks == ("rhymes", "odes")


def test_programs_get_json(lorary, library, tmp_path):
    code, output, _ = lorary("subtract", library.url, "sql", "--out", str(tmp_path / "rest"), "--json")
    assert code == 0
    assert json.loads(output) == {
        "out": str(tmp_path / "rest"),
        "experts": ["card games", "poetry"],
        "general": "sql",
        "rank": 4,
    }


def test_bad_input_is_explained_and_nothing_is_written(lorary, library, tmp_path):
    out = tmp_path / "rest"
    code, _, said = lorary("subtract", library.url, "sqll", "--out", str(out))
    assert (code, "did you mean 'sql'" in said) == (2, True)
    code, _, said = lorary("subtract", library.url, "sql", "--out", str(out), "--scale", "inf")
    assert (code, "scale must be a number, found inf" in said) == (2, True)
    code, _, said = lorary("subtract", library.url, "sql", "--out", library.url)
    assert (code, "must be outside library" in said) == (2, True)
    wide = Factors(torch.ones(2, 7), torch.ones(4, 2))
    library.add(Expert("wide", "tiny-base", {"layers.0.proj": wide}))
    code, _, said = lorary("subtract", library.url, "sql", "--out", str(out))
    assert (code, "'wide'" in said) == (2, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lib"]


def test_a_full_disk_leaves_nothing_behind(lorary, library, tmp_path, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Library, "add", fill)
    code, _, said = lorary("subtract", library.url, "sql", "--out", str(tmp_path / "rest"))
    assert (code, "No space left on device" in said) == (2, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lib"]
