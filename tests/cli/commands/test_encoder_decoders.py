"""The commands on a base model with an encoder and a decoder, from training to a folded model."""

import json

import pytest
from transformers import AutoModelForSeq2SeqLM

from lorary.assembly import load_model
from lorary.evaluation import Result
from lorary.library import Library
from tests.encoder_decoders import build_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a tiny FLAN-T5."""
    folder = tmp_path_factory.mktemp("bases") / "tiny-flan"
    made = build_base("flan-t5")
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def library(lorary, base, tmp_path):
    """Two experts that the command has trained."""
    url = str(tmp_path / "lib")
    tasks = ("--tasks", "generated:plurals", "generated:prices")
    sizes = ("--training.max_steps", "2", "--training.rank", "2", "--training.validate_every", "2")
    code, _, errors = lorary("train", url, *tasks, "--base", base, *sizes)
    assert code == 0, errors
    return url


def test_from_training_to_a_folded_model(lorary, library, base, tmp_path):
    assert {expert.card.task_type for expert in Library.open(library).values()} == {"SEQ_2_SEQ_LM"}
    code, output, errors = lorary("generate", library, "one mouse", "--max-new-tokens", "3", "--json")
    assert code == 0, errors
    assert json.loads(output)["router"] == "arrow"
    tasks = ("--tasks", "generated:plurals", "--evaluation.num_examples", "2")
    metrics = ("--metrics", "loss,exact_match", "--out", str(tmp_path / "eval"))
    code, _, errors = lorary("eval", library, *tasks, *metrics)
    assert code == 0, errors
    result = Result.from_json(tmp_path / "eval" / "results.json")
    assert {route for _, route, _ in result.scores} == {"base", "random", "uniform", "arrow", "oracle"}
    code, _, errors = lorary("build", library, "--out", str(tmp_path / "model"))
    assert code == 0, errors
    assert load_model(tmp_path / "model").routing[0] == "arrow"
    code, _, errors = lorary("merge", library, "--method", "ties", "--out", "both")
    assert code == 0, errors
    code, _, errors = lorary("export", library, "both", "--fold", "--out", str(tmp_path / "folded"))
    assert code == 0, errors
    AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "folded")


def test_merges_by_examples_and_reports(lorary, library, tmp_path):
    both = ("--tasks", "generated:plurals", "generated:prices", "--out", "by-inputs")
    code, _, errors = lorary("merge", library, "--method", "regmean", *both)
    assert code == 0, errors
    few = ("--tasks", "generated:plurals", "--out", "by-weights", "--options", "num_steps=2")
    code, _, errors = lorary("merge", library, "--method", "lorahub", *few)
    assert code == 0, errors
    sizes = ("--evaluation.num_examples", "1", "--transfer-examples", "1", "--num-samples", "1")
    code, _, errors = lorary(
        "report", library, "--tasks", "generated:plurals", *sizes, "--out", str(tmp_path / "report")
    )
    assert code == 0, errors
    assert "plurals" in (tmp_path / "report" / "report.html").read_text()


def test_a_new_task_is_adapted_to(lorary, library, tmp_path):
    few = ("--tasks", "generated:past_tense", "--shots", "5", "--training.max_steps", "2")
    code, output, errors = lorary("adapt", library, *few, "--run", str(tmp_path / "run"))
    assert code == 0, errors
    assert "fine-tuned, with all experts scored by embedding" in " ".join(output.split())
    assert len(Library.open(library)) == 3
    assert {expert.card.task_type for expert in Library.open(library).values()} == {"SEQ_2_SEQ_LM"}


def test_arrows_weights_are_means_over_both_halves_and_generic_texts_are_missed_first(
    lorary, library, tmp_path
):
    few = ("--tasks", "generated:past_tense", "--shots", "5", "--training.max_steps", "20", "--store", "none")
    place = ("--run", str(tmp_path / "run"))
    code, output, errors = lorary("adapt", library, *few, *place, "--method", "arrow", "--json")
    assert code == 0, errors
    weights = json.loads(output)["runs"][0]["tasks"][0]["weights"]
    assert {path.split(".")[0] for path in weights} >= {"encoder", "decoder"}
    assert all(sum(own.values()) == pytest.approx(1, abs=1e-5) for own in weights.values())
    for words in (("--method", "calibrated"), ("--by", "calibrated")):
        code, output, errors = lorary("adapt", library, *few, *place, *words)
        assert code == 2 and output == "" and f"{' '.join(words)} needs generic texts" in errors


def test_the_calibrated_router_is_refused_in_one_sentence(lorary, library):
    code, _, errors = lorary("generate", library, "one mouse", "--router", "calibrated")
    assert code == 2
    assert "writes no generic text" in " ".join(errors.split())
