import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.experts import BaseIdentity, hash_weights, read_peft
from lorary.experts.base_names import compare_bases
from lorary.experts.expert import identify_base
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


def test_peft_finds_the_base_model_that_an_adapter_names(
    lorary, trained_library, tiny_base, tmp_path, monkeypatch
):
    monkeypatch.chdir(Path(tiny_base).parent)
    library = Library.open(str(tmp_path / "lib"), create=True)
    library["prices"] = Library.open(trained_library)["prices"].with_base("tiny")
    library["limericks"] = library["prices"].with_base("smollm2-135m")
    for name in library:
        assert lorary("export", library.url, name, "--out", str(tmp_path / name))[0] == 0
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "prices")
    assert model.base_model.model.name_or_path == tiny_base
    config = json.loads((tmp_path / "limericks" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    again = read_peft(str(tmp_path / "limericks"))
    assert compare_bases(identify_base(again), BaseIdentity("smollm2-135m")).fits


@torch.no_grad()
def test_a_folded_expert_is_a_plain_model(export, trained_library, tiny_base, tmp_path):
    code, output, _ = export("prices", "--fold", "--dtype", "float32", "--json")
    assert code == 0
    found = json.loads(output)
    assert (found["expert"], found["fold"]) == ("prices", True)
    base = load_base(tiny_base, dtype=torch.float32)
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
    assert (code, "--trust-base and --quantize need --fold" in said) == (2, True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all my work")
    code, _, said = export("prices", "--fold")
    assert (code, "exists and is not empty: choose another place" in said) == (2, True)


@torch.no_grad()
def test_an_expert_on_top_is_written_as_the_sum_with_its_general_expert(lorary, trained_library, tmp_path):
    shutil.copytree(trained_library, tmp_path / "library")
    library = Library.open(str(tmp_path / "library"))
    general = library["prices"].rename("common")
    library.add(replace(general, card=replace(general.card, role="general")))
    on_top = replace(library["plurals"].card, on_top_of=hash_weights(general))
    library.add(replace(library["plurals"], card=on_top), "on-top")
    code, output, _ = lorary("export", library.url, "on-top", "--out", str(tmp_path / "out"))
    assert code == 0
    assert "it is the exact sum of 'on-top' and its general expert 'common'" in output
    found = read_peft(str(tmp_path / "out"))
    assert found.card.on_top_of is None
    for path, pair in found.factors.items():
        parts = [library[name].factors[path] for name in ("common", "on-top")]
        torch.testing.assert_close(pair.b @ pair.a, sum(part.b @ part.a for part in parts))
