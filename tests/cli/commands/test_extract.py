import json

import pytest
import torch

from lorary.library import Library
from lorary.models import fold, load_base


@pytest.fixture
def models(tiny_base, trained_library, tmp_path):
    """A base model, and one into which an expert is folded and whose last norm changed."""
    base = load_base(tiny_base, device="cpu", dtype=torch.float32)  # as its files are, on every processor
    tuned = fold(base.model, Library.open(trained_library)["prices"])
    tuned.model.norm.weight.data += 0.1
    tuned.save_pretrained(tmp_path / "tuned")
    base.tokenizer.save_pretrained(tmp_path / "tuned")
    return tiny_base, str(tmp_path / "tuned")


def test_an_expert_is_extracted_into_a_new_library_and_its_error_is_shown(lorary, models, tmp_path):
    out = str(tmp_path / "lib")
    code, output, errors = lorary("extract", *models, "--rank", "4", "--out", out)
    assert code == 0, errors
    assert "q_proj" in output and "lost: norm of the error" in output
    assert "lost: 1 other parameter, with the change relative to its norm: model.norm.weight (" in output
    assert "--keep-rest stores" in output and "expert tuned is in library" in output
    assert Library.open(out)["tuned"].card.provenance["extraction"]["lost"] == ["model.norm.weight"]
    code, _, errors = lorary("extract", *models, "--rank", "4", "--out", out)
    assert code == 2 and "has an expert 'tuned': choose another --name" in errors


def test_json_has_every_layer(lorary, models, tmp_path):
    words = ("--rank", "4", "--out", str(tmp_path / "lib"), "--name", "prices", "--keep-rest", "--json")
    code, output, _ = lorary("extract", *models, *words)
    found = json.loads(output)
    assert (
        code == 0
        and found["streamed"]
        and found["lost"] == {}
        and list(found["kept"]) == ["model.norm.weight"]
    )
    assert len(found["layers"]) == 14 and all(layer["error"] < 1e-2 for layer in found["layers"].values())


def test_per_layer_there_is_a_line_for_each(lorary, models, tmp_path):
    words = ("--rank", "1", "--out", str(tmp_path / "lib"), "--per-layer")
    _, output, _ = lorary("extract", *models, *words)
    assert sum(line.lstrip("│ ").startswith("model.layers.") for line in output.splitlines()) == 14


@pytest.mark.parametrize("change", [{"--rank": "0"}, {"--name": "../x"}, {"tuned": "nowhere"}])
def test_bad_input_leaves_no_library_behind(lorary, models, tmp_path, change):
    words = {"--rank": "4", "--out": str(tmp_path / "lib"), **change}
    tuned = words.pop("tuned", models[1])
    code, _, errors = lorary("extract", models[0], tuned, *(part for pair in words.items() for part in pair))
    assert code == 2 and "error: " in errors and not (tmp_path / "lib").exists()
