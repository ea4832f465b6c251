import copy
import json

import pytest
import torch

from lorary.errors import BaseModelError, IncompatibleExpert
from lorary.models import attach_experts, fold, load_base
from lorary.models.extraction import extract_expert


@pytest.fixture
def save(tmp_path, tokenizer):
    def write(model, name, **options):
        model.save_pretrained(tmp_path / name, **options)
        tokenizer.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("case", ["llama", "gpt2", "qwen2", "sharded", "tied"])
def test_a_known_expert_is_extracted_exactly(build_base, make_expert, compute_logits, save, case):
    family = case if case in ("llama", "gpt2", "qwen2") else "llama"
    base = build_base(family, **({"tie_word_embeddings": True} if case == "tied" else {}))
    expert = make_expert(base, rank=3)
    options = {"max_shard_size": "20KB"} if case == "sharded" else {}
    places = save(base, "base", **options), save(fold(base, expert), "tuned", **options)
    found = extract_expert(*places, 5)
    assert found.is_streamed and found.lost == found.kept == {}
    assert found.expert.outlines.keys() == expert.outlines.keys()
    assert {change.rank for change in found.layers.values()} == {3}
    assert found.error < 1e-5 and max(change.error for change in found.layers.values()) < 1e-5
    for path, (a, b) in expert.factors.items():
        own = found.expert.factors[path]
        torch.testing.assert_close(own.b @ own.a, b @ a, rtol=1e-4, atol=1e-5)
    assert found.expert.card.base_fingerprint == load_base(places[0], device="cpu").fingerprint
    expected = compute_logits(fold(base, expert))
    stack = attach_experts(base, {"tuned": found.expert})
    with stack.assign(["tuned"] * 3):
        torch.testing.assert_close(compute_logits(base), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["LoHa", "Vera"])
def test_an_adapter_that_is_no_expert_is_extracted_after_a_merge_by_peft(
    build_base, compute_logits, save, kind
):
    """The advice of the refusal: a change of low rank is extracted exactly."""
    import peft

    base = build_base("llama")
    config = getattr(peft, f"{kind}Config")(r=2, target_modules=["q_proj", "o_proj"])
    model = peft.get_peft_model(copy.deepcopy(base), config)
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter)
    merged = model.merge_and_unload().eval()
    expected = compute_logits(merged)
    found = extract_expert(save(base, "base"), save(merged, "tuned"), 4)  # LoHa of rank 2 has at most 4
    assert found.error < 1e-4 and len(found.layers) == 4
    assert not torch.allclose(compute_logits(base), expected, atol=1e-2)
    torch.testing.assert_close(compute_logits(fold(base, found.expert)), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_factors_are_the_best_of_their_rank_and_the_error_is_theirs(build_base, save, dtype):
    base = build_base("llama").to(dtype)
    tuned = copy.deepcopy(base)
    torch.manual_seed(3)
    for layer in tuned.model.layers:
        layer.mlp.up_proj.weight += torch.randn_like(layer.mlp.up_proj.weight) * 0.1
    found = extract_expert(save(base, "base"), save(tuned, "tuned"), 4)
    assert list(found.layers) == [f"model.layers.{n}.mlp.up_proj" for n in range(2)]
    for path, change in found.layers.items():
        old, new = (model.get_submodule(path).weight.float() for model in (base, tuned))
        singular = torch.linalg.svdvals((new - old).double())
        best = (singular[4:].square().sum() / singular.square().sum()).sqrt().item()
        a, b = found.expert.factors[path]
        lacking = ((new - old) - b @ a).norm() / (new - old).norm()
        assert change.error == pytest.approx(lacking.item(), rel=1e-3)
        assert change.error == pytest.approx(best, rel=1e-3)
        assert change.change == pytest.approx(((new - old).norm() / old.norm()).item(), rel=1e-3)


@pytest.mark.parametrize("keep_rest", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_other_parameters_are_lost_or_kept_as_a_whole(build_base, compute_logits, save, keep_rest, tied):
    base = build_base("qwen2", tie_word_embeddings=tied)
    tuned = copy.deepcopy(base)
    tuned.model.norm.weight += 0.5
    tuned.model.embed_tokens.weight[5] += 1.0
    tuned.model.layers[0].self_attn.q_proj.bias += 0.25
    tuned.model.layers[0].self_attn.q_proj.weight[0] += 0.25
    places = save(base, "base"), save(tuned, "tuned")
    found = extract_expert(*places, 8, keep_rest=keep_rest)
    names = {"model.norm.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.bias"}
    assert set(found.kept if keep_rest else found.lost) == names
    assert set(found.lost if keep_rest else found.kept) == set()
    assert list(found.layers) == ["model.layers.0.self_attn.q_proj"]
    if keep_rest:
        stack = attach_experts(base, {"tuned": found.expert})
        with stack.assign(["tuned"] * 3):
            torch.testing.assert_close(compute_logits(base), compute_logits(tuned), rtol=1e-4, atol=1e-4)


def test_a_vocabulary_that_grew_is_told_and_not_kept(build_base, make_expert, save):
    base = build_base("llama", tie_word_embeddings=True)
    tuned = fold(base, make_expert(base, targets=["q_proj"]))
    tuned.resize_token_embeddings(99, mean_resizing=False)
    found = extract_expert(save(base, "base"), save(tuned, "tuned"), 3, keep_rest=True)
    assert found.lost == {"model.embed_tokens.weight": float("inf")} and found.kept == {}


def test_names_that_transformers_converts_are_read_from_loaded_models(build_base, make_expert, save):
    base = build_base("gpt_neox")
    expert = make_expert(base, rank=2)
    found = extract_expert(save(base, "base"), save(fold(base, expert), "tuned"), 2)
    assert not found.is_streamed and found.error < 1e-5


def test_models_that_are_not_alike_are_refused(build_base, save, tmp_path):
    llama = save(build_base("llama"), "llama")
    with pytest.raises(IncompatibleExpert, match="but it is a gpt2, the base model a llama: name"):
        extract_expert(llama, save(build_base("gpt2"), "gpt2"), 2)
    wide = save(build_base("llama", intermediate_size=40), "wide")
    with pytest.raises(
        IncompatibleExpert, match=r"layers\.0\.mlp\.gate_proj maps \(40, 32\), not \(48, 32\)"
    ):
        extract_expert(llama, wide, 2)
    with pytest.raises(IncompatibleExpert, match="all of their weights are equal: check both names"):
        extract_expert(llama, llama, 2)
    with pytest.raises(ValueError, match="rank must be at least 1, found 0"):
        extract_expert(llama, wide, 0)
    config = json.loads((tmp_path / "wide/config.json").read_text())
    (tmp_path / "wide/config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    with pytest.raises(BaseModelError, match="must not be quantised"):
        extract_expert(llama, wide, 2)
