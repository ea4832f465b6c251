"""The ``transformers`` model of a routed model, called without the wrapper, under a router per request."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import AutoModelForCausalLM, StaticCache, pipeline

from lorary.assembly import load_model
from lorary.models import wrap_base
from lorary.routing import RetrievalConfig
from tests.architectures import tiny_config as make_config
from tests.assembly.test_request_routers import GENERIC

PROMPTS = ["plural of mouse", "2024-01-03 in words", "-. --- .--."]


@pytest.fixture
def routed(ready):
    """The model under a router that chooses one expert per request."""
    ready.set_router("retrieval", RetrievalConfig(top_k=1))
    ready.model.generation_config.eos_token_id = None
    ready.tokenizer.eos_token = None
    return ready


@pytest.fixture
def batch(routed):
    """Prompts of different experts, padded on the left."""
    ids = [routed.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    longest = max(map(len, ids))
    found = {
        "input_ids": torch.tensor([[1] * (longest - len(each)) + each for each in ids]),
        "attention_mask": torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in ids]),
    }
    assert len(set(routed.decider.decide(**found)[0][:, 0].tolist())) > 1
    return found


@torch.no_grad()
def test_a_call_has_the_logits_of_the_wrapper(routed, batch):
    """Guards a bug: the model answered as the base model alone."""
    found = routed.model(**batch).logits
    assert torch.equal(found, routed(**batch).logits)
    with routed.routed(None):
        assert not torch.allclose(found, routed(**batch).logits)
    assert torch.equal(routed.model(batch["input_ids"], batch["attention_mask"]).logits, found)
    assert torch.equal(routed.model(**batch, return_dict=False)[0], found)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"num_return_sequences": 2, "num_beams": 3}])
def test_generation_is_that_of_the_experts_chosen_from_the_prompts(routed, batch, options):
    options = {**options, "max_new_tokens": 5, "pad_token_id": 0}
    chosen = [routed.names[int(index)] for index in routed.decider.decide(**batch)[0][:, 0]]
    found = routed.model.generate(**batch, **options)
    with routed.assign([name for name in chosen for _ in range(options.get("num_beams", 1))]):
        assert torch.equal(found, routed.model.generate(**batch, **options))


def test_a_pipeline_of_the_model_answers_as_the_wrapper(routed):
    made = pipeline("text-generation", model=routed.model, tokenizer=routed.tokenizer)
    for prompt in PROMPTS:
        (found,) = made(prompt, max_new_tokens=4, do_sample=False, return_full_text=False)
        assert found["generated_text"] == routed.generate(prompt, max_new_tokens=4)


@torch.no_grad()
def test_a_call_that_goes_on_with_a_cache_keeps_the_choice(routed, batch):
    ids, mask = batch["input_ids"], batch["attention_mask"]
    more = torch.full((3, 2), 7)
    longer = torch.cat([mask, torch.ones_like(more)], 1)
    cache = routed.model(**batch, use_cache=True).past_key_values
    found = routed.model(more, attention_mask=longer, past_key_values=cache).logits
    with routed.stack.planned(*routed.decider.decide(ids, mask)):
        cache = routed.model(**batch, use_cache=True).past_key_values
        expected = routed.model(more, attention_mask=longer, past_key_values=cache).logits
    assert torch.equal(found, expected)


@torch.no_grad()
def test_a_cache_that_is_used_again_has_a_new_choice(routed, batch):
    cache = StaticCache(routed.model.config, max_cache_len=20)
    rows = [{"input_ids": torch.tensor([routed.tokenizer(prompt)["input_ids"]])} for prompt in PROMPTS]
    for row in rows:
        cache.reset()
        found = routed.model(**row, past_key_values=cache).logits
        torch.testing.assert_close(found, routed(**row).logits)


@torch.no_grad()
def test_calls_that_do_not_show_the_prompt_are_refused(routed, batch):
    with routed.routed(None):
        cache = routed.model(**batch).past_key_values
    with pytest.raises(ValueError, match="without past_key_values, found"):
        routed.model(batch["input_ids"][:, :1], past_key_values=cache)
    with pytest.raises(ValueError, match="found inputs_embeds: run"):
        routed.model(inputs_embeds=torch.ones(1, 2, routed.model.config.hidden_size))
    message = (
        r"'retrieval' chooses once per request.* layer 'model.layers.0.* call model\(\.\.\.\), model.gen"
    )
    with pytest.raises(ValueError, match=message):
        routed.model.model(batch["input_ids"])


@torch.no_grad()
def test_a_failed_call_leaves_no_choice_behind(routed, batch):
    with pytest.raises(IndexError):
        routed.model(torch.tensor([[10**6]]))
    assert routed.stack.context.own.cell.value is None
    assert torch.equal(routed.model(**batch).logits, routed(**batch).logits)
    routed.set_router("uniform")  # no call holds the lock


@torch.no_grad()
def test_contexts_and_choices_of_a_call_go_before_the_router(routed, batch):
    with routed.assign(["morse"] * 3):
        assert torch.equal(routed.model(**batch).logits, routed(**batch, experts="morse").logits)
    with routed.routed("uniform"):
        uniform = routed.model(**batch).logits
    routed.set_router("uniform")
    assert torch.equal(routed.model(**batch).logits, uniform)
    with routed.routed("retrieval", RetrievalConfig(top_k=1)):
        assert torch.equal(routed.model(**batch).logits, routed(**batch).logits)


def test_a_training_step_reaches_the_chosen_experts(routed, batch):
    for layer in routed.stack.layers.values():
        layer.a.requires_grad_(True)
    chosen = set(routed.decider.decide(**batch)[0][:, 0].tolist())
    routed.model.train()
    routed.model(**batch, labels=batch["input_ids"]).loss.backward()
    layer = next(iter(routed.stack.layers.values()))
    assert {index for index, each in enumerate(layer.a.grad) if each.any()} == chosen


def test_threads_choose_for_themselves(routed, batch):
    rows = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(3)]
    with torch.no_grad():
        expected = [routed.model(**row).logits for row in rows]

    def run(row):
        with torch.no_grad():
            return routed.model(**row).logits

    with ThreadPoolExecutor(3) as threads:
        for found, logits in zip(threads.map(run, rows * 4), expected * 4, strict=True):
            assert torch.equal(found, logits)


@torch.no_grad()
def test_a_copy_of_the_model_routes_by_its_own_experts(routed, batch):
    expected = routed.model(**batch).logits
    copied = copy.deepcopy(routed.model)
    assert torch.equal(copied(**batch).logits, expected)


@torch.no_grad()
def test_the_base_model_is_unwatched_after_detach(routed, batch, build_tiny_base):
    base = routed.detach()
    assert not base.model._forward_hooks and not base.model._forward_pre_hooks
    assert torch.equal(base.model(**batch).logits, build_tiny_base().model(**batch).logits)


@pytest.mark.parametrize("kind", ["mamba", "rwkv", "jamba", "gpt2"])
def test_models_with_other_states_keep_the_choice_or_refuse(kind, build_tiny_base, draw_expert):
    torch.manual_seed(3)
    tokenizer = build_tiny_base().tokenizer
    config = make_config(kind)
    config.vocab_size = 257
    bare = AutoModelForCausalLM.from_config(config).eval()
    base = wrap_base(bare, tokenizer, name=f"tiny-{kind}")
    experts = {name: draw_expert(base, name, targets="all-linear") for name in ("dates", "morse", "plurals")}
    model = load_model(base, experts, router="calibrated", generic=GENERIC, top_k=1, margin=None)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0}
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        chosen = model.names[int(model.decider.decide(ids)[0])]
        with model.assign([chosen]):
            expected = model.model.generate(ids, **options)
        if kind == "rwkv":  # its state is a list of tensors
            with pytest.raises(ValueError, match="needs the whole prompt"):
                model.model.generate(ids, **options)
        else:
            assert torch.equal(model.model.generate(ids, **options), expected)


def test_ids_and_mask_may_be_positional_as_in_transformers(routed, batch):
    with torch.no_grad():
        found, expected = routed(*batch.values()).logits, routed(**batch).logits
    assert torch.equal(found, expected)
