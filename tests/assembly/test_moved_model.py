"""A model that is moved is the one that is loaded there."""

import threading
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.assembly import load_model
from lorary.assembly.current_router import CurrentRouter
from lorary.evaluation.identity import Identity
from lorary.evaluation.running import describe_model
from lorary.experts.parts.dora import DoraPart
from lorary.library import Library
from lorary.models import wrap_base

CUT = {"arrow": {"top_k": 2}, "calibrated": {}, "uniform": {}, "spectr": {}}


@pytest.fixture
def load(base, experts, tmp_path):
    """Load the base model's files in a dtype, with experts."""
    base.model.save_pretrained(tmp_path / "base")

    def load_in(dtype, router="arrow", found=experts):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype)
        options = {} if router is None else CUT[router]
        return load_model(wrap_base(model, base.tokenizer, name="tiny-0"), found, router=router, **options)

    return load_in


@torch.no_grad()
def find_logits(model, input_ids):
    return model(input_ids).logits


def list_tensors(model):
    tensors = [*model.model.named_parameters(), *model.model.named_buffers()]
    return {name: tensor for name, tensor in tensors if "default_router" not in name}


@pytest.mark.parametrize("router", CUT)
def test_a_narrower_dtype_gives_what_loading_in_it_gives(load, input_ids, router):
    moved, loaded = load(torch.float32, router), load(torch.bfloat16, router)
    before = moved.routing
    assert moved.to(torch.bfloat16) is moved
    assert torch.equal(find_logits(moved, input_ids), find_logits(loaded, input_ids))
    assert moved.routing == before and moved.dtype == moved.config.dtype == torch.bfloat16
    found, expected = list_tensors(moved), list_tensors(loaded)
    assert found.keys() == expected.keys()
    assert {name: each.dtype for name, each in found.items()} == {
        name: each.dtype for name, each in expected.items()
    }
    assert found["model.rotary_emb.inv_freq"].dtype == torch.float32
    assert moved.generate("Sort: b, a", max_new_tokens=4) == loaded.generate("Sort: b, a", max_new_tokens=4)
    assert moved.stack.context.rounded == ()


def test_a_wider_dtype_computes_with_the_rounded_values(load, base, experts, input_ids, tmp_path):
    moved = load(torch.bfloat16, "uniform").float()
    for parameter in base.model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    base.model.save_pretrained(tmp_path / "base")
    rounded = {
        name: replace(
            expert,
            factors={
                path: type(pair)(*(each.bfloat16().float() for each in pair))
                for path, pair in expert.factors.items()
            },
        )
        for name, expert in experts.items()
    }
    expected = find_logits(load(torch.float32, "uniform", rounded), input_ids)
    assert torch.equal(find_logits(moved, input_ids), expected) and expected.dtype == torch.float32
    assert moved.stack.context.rounded == (torch.bfloat16,)
    assert moved.bfloat16().stack.context.rounded == ()


def test_a_moved_model_is_not_taken_for_one_that_was_loaded(load):
    """Answers and choices are stored by the identity of the model."""
    loaded, moved = load(torch.float32), load(torch.bfloat16).float()
    names = [Identity(each).name_choice(each.router(None), "Why?") for each in (loaded, moved)]
    assert names[0] != names[1]
    assert describe_model(moved, None)["rounded"] == ["bfloat16"] and "rounded" not in describe_model(
        loaded, None
    )
    same = load(torch.float32).bfloat16()
    other = load(torch.bfloat16)
    assert Identity(same).name_choice(same.router(None), "Why?") == Identity(other).name_choice(
        other.router(None), "Why?"
    )


def test_the_places_of_torch_are_understood(load):
    model = load(torch.float32)
    like = torch.zeros(1, dtype=torch.bfloat16)
    asked = [
        (lambda: model.to("cpu"), torch.float32),
        (lambda: model.to(like), torch.bfloat16),
        (lambda: model.to(torch.device("cpu"), torch.float16), torch.float16),
        (lambda: model.to(device="cpu", dtype=torch.float32), torch.float32),
        (lambda: model.half().cpu(), torch.float16),
        (lambda: model.to(None, torch.float64), torch.float64),
        (lambda: model.to(), torch.float64),
        (lambda: model.float(), torch.float32),
    ]
    for move, dtype in asked:
        assert move() is model and (model.device.type, model.dtype) == ("cpu", dtype)
        assert {layer.a.dtype for layer in model.stack.layers.values()} == {dtype}


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([torch.int8], "dtype must be one of float16, bfloat16, float32, float64, found 'torch.int8'"),
        (["nowhere"], "device must be a device of this machine, such as cpu or cuda:1, found 'nowhere'"),
        (["meta"], "device must be a device of this machine, such as cpu or cuda:1, found 'meta'"),
        (["cpu", "cuda"], "moved to one device and one dtype, found 'cpu' and 'cuda': leave one out"),
        ([torch.zeros(1), torch.float16], "found 'torch.float32' and 'torch.float16': leave one out"),
    ],
)
def test_other_places_are_refused(model, places, message):
    with pytest.raises(ValueError, match=message):
        model.to(*places)


def test_a_model_is_not_moved_within_a_context(model, input_ids):
    before = find_logits(model, input_ids)
    with model.assign(["morse", None]):
        assert model.to("cpu") is model
        with pytest.raises(
            ValueError, match="leave the contexts of routed and assign first, before you move"
        ):
            model.half()
    assert torch.equal(find_logits(model, input_ids), before)


def test_a_router_made_before_is_refused(model, input_ids):
    before = model.router("arrow")
    model.bfloat16()
    with pytest.raises(ValueError, match=r"build it again with model.router.* or the model is moved"):
        model(input_ids, experts=before)
    model(input_ids, experts=model.router("arrow"))


def test_after_an_error_the_model_is_as_it_was(model, input_ids, monkeypatch):
    expected, before = find_logits(model, input_ids), list_tensors(model)
    known, stack = model.config.dtype, model.stack

    def fail(current):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(CurrentRouter, "set_again", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            model.half()
    assert torch.equal(find_logits(model, input_ids), expected)
    assert all(torch.equal(each, before[name]) for name, each in list_tensors(model).items())
    assert (model.config.dtype, model.stack, model.dtype) == (known, stack, torch.float32)
    with model.routed("spectr"):
        find_logits(model, input_ids)


def test_experts_that_were_prepared_for_a_dtype_are_refused(build_tiny_base, experts):
    base = build_tiny_base()
    parts = {
        path: (DoraPart(torch.ones(pair.b.shape[0])),) for path, pair in experts["dates"].factors.items()
    }
    dora = replace(experts["dates"], name="dora", parts=parts)
    model = load_model(base, experts, router="arrow", controls={"dora": dora})
    with pytest.raises(
        ValueError, match=r"'dora' has DoRA magnitudes, .*load_model\(…, dtype=torch.float16\)"
    ):
        model.half()
    assert model.to("cpu").dtype == torch.float32


def test_a_quantised_base_model_stays(model, monkeypatch):
    monkeypatch.setattr(model.model, "is_quantized", True, raising=False)
    with pytest.raises(ValueError, match=r"quantised weights keeps its device and its dtype: load it with"):
        model.half()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_moved_model_grows_and_is_saved(base, experts, draw_expert, tmp_path, dtype):
    library = Library.open(tmp_path / "library", create=True)
    for expert in experts.values():
        library.add(expert)
    late = draw_expert(base, "late", rank=6)
    model = load_model(base, library, router="arrow", top_k=2).bfloat16().to(dtype)
    model.add_expert(late)
    assert {layer.a.dtype for layer in model.stack.layers.values()} == {dtype}
    model.save_pretrained(tmp_path / "saved", with_base=True)
    loaded = load_model(tmp_path / "saved")
    assert loaded.dtype == dtype and set(loaded.names) == set(model.names)


def test_other_threads_see_the_model_before_or_after_a_move(load, input_ids):
    model = load(torch.bfloat16)
    expected = {}
    for dtype in (torch.float32, torch.bfloat16):
        expected[dtype] = find_logits(model.to(dtype), input_ids)
    wrong, is_done = [], threading.Event()

    def ask():
        while not is_done.is_set():
            found = find_logits(model, input_ids)
            if not torch.equal(found, expected[found.dtype]):
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            model.float().bfloat16()
    finally:
        is_done.set()
        for thread in threads:
            thread.join()
    assert not wrong
