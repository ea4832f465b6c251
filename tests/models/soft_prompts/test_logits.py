"""Soft prompts as PEFT alone and in mixed batches, written, padded and with a cache."""

import copy
import warnings

import pytest
import torch

from lorary.assembly import load_model
from lorary.experts import read_peft, write_peft
from lorary.library import Library
from lorary.models import attach_experts, fold, wrap_base
from tests.models.soft_prompts.cases import IDS, KINDS, run, run_peft, train

pytestmark = pytest.mark.filterwarnings("ignore:expert .* routers do not choose it")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma"], indirect=True)
def test_logits_are_pefts_alone_and_among_others(base, everyone):
    models, experts = everyone
    alone = run(base)
    expected = {kind: run_peft(model) for kind, model in models.items()}
    stack = attach_experts(base, experts)
    torch.testing.assert_close(run(base), alone, rtol=0, atol=0)
    for kind, logits in expected.items():
        with stack.assign([kind] * 4):
            torch.testing.assert_close(run(base), logits, rtol=1e-4, atol=1e-4)
    names = ["p-tuning", "prefix", None, "prompt"]
    with stack.assign(names):
        found = run(base)
    for row, name in enumerate(names):
        own = alone if name is None else expected[name]
        torch.testing.assert_close(found[row], own[row], rtol=1e-4, atol=1e-4)


def test_a_mixed_batch_with_low_rank_experts(base, everyone, plain):
    models, experts = everyone
    alone, expected = run(base), run(fold(base, plain))
    stack = attach_experts(base, {**experts, "plain": plain})
    with stack.assign(["plain", "prefix", None, "plain"]):
        found = run(base)
    torch.testing.assert_close(found[[0, 3]], expected[[0, 3]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], run_peft(models["prefix"])[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], alone[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_written_listed_and_loaded_by_peft(peft, base, everyone, kind, tmp_path):
    models, experts = everyone
    write_peft(experts[kind], tmp_path / "again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "again").eval()
    torch.testing.assert_close(run_peft(again), run_peft(models[kind]), rtol=1e-4, atol=1e-4)
    library = Library.open(tmp_path / "lib", create=True)
    library.add(experts[kind], "own")
    assert library["own"].kinds == ["soft prompt"]
    assert library["own"].card.task_type == "CAUSAL_LM"
    assert library.verify() == []


def test_padding_and_the_place_of_padding_change_nothing(base, everyone):
    models, experts = everyone
    stack = attach_experts(base, experts)
    short = IDS[1:2, :4]
    expected = run_peft(models["prompt"], short)[0]
    for side in ("left", "right"):
        ids, mask = torch.full((2, 7), 9), torch.zeros(2, 7, dtype=torch.long)
        ids[0], mask[0] = IDS[0], 1
        own = slice(3, None) if side == "left" else slice(0, 4)
        ids[1, own], mask[1, own] = short[0], 1
        with stack.assign(["prefix", "prompt"]):
            found = run(base, ids, attention_mask=mask)
        torch.testing.assert_close(found[1, own], expected, rtol=1e-4, atol=1e-4)


def test_answers_with_a_cache_are_pefts(base, everyone):
    models, experts = everyone
    model = load_model(wrap_base(base), experts, router=None)
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [5, 6]]
    names = ["prompt", "prefix", None, "p-tuning"]
    answers = model.generate(prompts, experts=names, max_new_tokens=12)
    for prompt, name, answer in zip(prompts, names, answers, strict=True):
        ids = torch.tensor([prompt])
        one = model.base.model if name is None else models[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = one.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
            )
        assert answer == expected[0, len(prompt) :].tolist()


def test_they_are_exact_on_a_base_model_of_16_bit_numbers(peft, build_base, plain, tmp_path):
    base = build_base("llama").to(torch.bfloat16)
    models = {kind: train(peft, base, kind, tmp_path / kind) for kind in KINDS}
    experts = {kind: read_peft(tmp_path / kind) for kind in KINDS}
    alone, low_rank = run(base), run(fold(base, plain))
    expected = {kind: run_peft(model) for kind, model in models.items()}
    stack = attach_experts(base, {**experts, "plain": plain})
    for names in (["prompt"] * 4, ["p-tuning", "prefix", None, "plain"], ["projected prefix", "plain"] * 2):
        with stack.assign(names):
            found = run(base)
        assert found.dtype == torch.bfloat16
        for row, name in enumerate(names):
            own = {None: alone, "plain": low_rank, **expected}[name]
            # A mixed batch has other paddings, so that sums are rounded otherwise.
            torch.testing.assert_close(found[row], own[row], rtol=0.05, atol=0.08)
