import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.experts import read_peft
from lorary.library import Library
from lorary.models import fold, load_base

INPUT_IDS = torch.tensor([[5, 9, 200, 31]])


@pytest.fixture
def export(lorary, trained_library, tmp_path):
    return lambda *words: lorary("export", trained_library, *words, "--out", str(tmp_path / "out"))


def test_an_adapter_comes_out_as_it_is(export, trained_library, tmp_path):
    code, output, _ = export("prices")
    assert code == 0
    assert output.startswith(f"PEFT adapter  {tmp_path / 'out'}")
    assert f"next: lorary library show {trained_library} prices" in output
    stored = Library.open(trained_library)["prices"]
    for path, pair in read_peft(str(tmp_path / "out")).factors.items():
        assert torch.equal(pair.a, stored.factors[path].a)
        assert torch.equal(pair.b, stored.factors[path].b)


@torch.no_grad()
def test_a_folded_expert_is_a_plain_model(export, trained_library, tiny_base, tmp_path):
    code, output, _ = export("prices", "--fold", "--dtype", "float32", "--json")
    assert code == 0
    found = json.loads(output)
    assert (found["expert"], found["fold"]) == ("prices", True)
    base = load_base(tiny_base)
    expected = fold(base.model, Library.open(trained_library)["prices"]).float()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(model(input_ids=INPUT_IDS).logits, expected(input_ids=INPUT_IDS).logits)


def test_a_merged_expert_can_be_folded(lorary, trained_library, tmp_path):
    merged = str(tmp_path / "merged")
    assert lorary("merge", trained_library, "--method", "linear", "--out", merged)[0] == 0
    library = str(tmp_path / "library")
    Library.open(library, create=True)
    assert lorary("library", "add", library, merged)[0] == 0
    assert lorary("export", library, "merged", "--fold", "--out", str(tmp_path / "out"))[0] == 0
    assert "Merged from: " in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_done_is_refused_before_anything_is_loaded(export, tmp_path, monkeypatch):
    monkeypatch.setattr("lorary.cli.commands.export.run.load_base", None)
    code, _, said = export("price")
    assert (code, "'prices'" in said) == (2, True)
    code, _, said = export("prices", "--base", "smollm2-135m")
    assert (code, "--revision and --trust-base need --fold" in said) == (2, True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all my work")
    code, _, said = export("prices", "--fold")
    assert (code, "exists and is not empty: choose another place" in said) == (2, True)
