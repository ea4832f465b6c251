import pytest
import torch

from lorary.errors import FormatError, IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.library import Library
from lorary.models import attach_experts
from lorary.models.expert_linear import ExpertLinear
from lorary.models.grow import drop_expert, insert_expert

RANKS = {"poetry": 3, "sql": 1, "law": 5}


@pytest.fixture
def experts(llama, make_expert):
    return {name: make_expert(llama, name, rank=rank, seed=rank) for name, rank in RANKS.items()}


def answer(stack, name, compute_logits):
    with stack.assign([name] * 3):
        return compute_logits(stack.model)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_model_that_grew_is_the_one_loaded_with_all(build_base, experts, index):
    names = ["sql", "law"]
    names.insert(index, "poetry")
    whole = attach_experts(build_base(), {name: experts[name] for name in names})
    grown = attach_experts(build_base(), {name: experts[name] for name in ("sql", "law")})
    grown = insert_expert(grown, experts["poetry"], index)
    assert grown.names == whole.names
    assert list(grown.layers) == list(whole.layers)
    for path, layer in grown.layers.items():
        assert torch.equal(layer.a, whole.layers[path].a)
        assert torch.equal(layer.b_t, whole.layers[path].b_t)
        assert not layer.a.requires_grad and layer.b_t.is_contiguous()
        assert layer.list_ranks() == whole.layers[path].list_ranks() == [RANKS[name] for name in names]


def test_an_expert_whose_file_is_damaged_leaves_the_model_as_it_was(llama, make_expert, experts, tmp_path):
    """Regression: layers without experts got an empty stack, for which the router had no entry."""
    Library.open(tmp_path, create=True).add(experts["poetry"])
    file = tmp_path / "poetry" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    stack = attach_experts(llama, {"sql": make_expert(llama, "sql", targets=["q_proj"])})
    with pytest.raises(FormatError, match="poetry"):
        insert_expert(stack, Library.open(tmp_path)["poetry"], 1)
    grown = [path for path, module in llama.named_modules() if isinstance(module, ExpertLinear)]
    assert grown == list(stack.layers)
    assert {len(layer.a) for layer in stack.layers.values()} == {1}


def test_a_larger_rank_pads_those_that_were_there(build_base, experts, compute_logits):
    stack = attach_experts(build_base(), {"sql": experts["sql"]})
    before = answer(stack, "sql", compute_logits)
    stack = insert_expert(stack, experts["law"], 1)
    assert next(iter(stack.layers.values())).a.shape[:2] == (2, 5)
    torch.testing.assert_close(answer(stack, "sql", compute_logits), before)


def test_a_new_expert_may_bring_layers(build_base, make_expert, compute_logits):
    model = build_base()
    narrow = make_expert(model, "narrow", targets=["v_proj"])
    wide = make_expert(model, "wide", seed=9, targets=["q_proj", "down_proj"])
    alone = attach_experts(build_base(), {"wide": wide})
    stack = attach_experts(model, {"narrow": narrow})
    before = answer(stack, "narrow", compute_logits)
    stack = insert_expert(stack, wide, 1)
    both = attach_experts(build_base(), {"narrow": narrow, "wide": wide})
    assert list(stack.layers) == list(both.layers)
    torch.testing.assert_close(answer(stack, "wide", compute_logits), answer(alone, "wide", compute_logits))
    torch.testing.assert_close(answer(stack, "narrow", compute_logits), before)


def test_what_was_taken_off_is_gone_and_the_others_stay(build_base, experts, compute_logits):
    stack = attach_experts(build_base(), experts)
    expected = {name: answer(stack, name, compute_logits) for name in RANKS}
    left = drop_expert(stack, "sql")
    assert left.names == ("poetry", "law")
    assert all(layer.list_ranks() == [3, 5] for layer in left.layers.values())
    for name in left.names:
        torch.testing.assert_close(answer(left, name, compute_logits), expected[name])
    with pytest.raises(UnknownExpert, match="'sql'"):
        left.index("sql")


def test_detaching_a_model_that_grew_gives_the_base_back(build_base, make_expert, experts, compute_logits):
    model = build_base()
    before = compute_logits(model)
    stack = attach_experts(model, {"narrow": make_expert(model, "narrow", targets=["v_proj"])})
    insert_expert(stack, experts["law"], 0).detach()
    assert not any(isinstance(module, ExpertLinear) for module in model.modules())
    assert torch.equal(compute_logits(model), before)


def test_a_bfloat16_model_stays_one(build_base, experts):
    model = build_base().to(torch.bfloat16)
    stack = insert_expert(attach_experts(model, {"sql": experts["sql"]}), experts["law"], 1)
    assert {layer.a.dtype for layer in stack.layers.values()} == {torch.bfloat16}


def test_an_expert_that_does_not_fit_leaves_the_model_as_it_was(build_base, experts):
    stack = attach_experts(build_base(), {"sql": experts["sql"]})
    path = next(iter(stack.layers))
    shapes = {path: layer.a.shape for path, layer in stack.layers.items()}
    misfit = Expert("misfit", "org/base", {path: Factors(torch.ones(2, 5), torch.ones(32, 2))})
    with pytest.raises(IncompatibleExpert, match=r"'misfit' .* maps \(32, 32\), the expert \(5, 32\)"):
        insert_expert(stack, misfit, 1)
    with pytest.raises(IncompatibleExpert, match="but 'sql' is taken: remove that"):
        insert_expert(stack, experts["sql"], 1)
    with pytest.raises(UnknownExpert, match="'law'"):
        drop_expert(stack, "law")
    assert {path: layer.a.shape for path, layer in stack.layers.items()} == shapes
