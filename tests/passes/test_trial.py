import copy
from functools import partial

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lorary.data import TokenizedExample
from lorary.models import find_layers
from lorary.models.attach import attach_slots
from lorary.passes import find_layout, score_pass, split_passes
from lorary.passes.agreement import measure_change
from lorary.passes.layout import Layout
from lorary.passes.packing import pack_sequences, pad_sequences
from lorary.passes.trial import Tried, list_texts, read_texts, try_model


def test_models_that_heed_masks_and_positions_are_exact_in_every_layout(family, build_base):
    assert try_model(build_base(family)) == Tried(masked=True, packed=True, padded=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_trial_allows_for_rounding(build_base, dtype):
    assert try_model(build_base("llama").to(dtype)) == Tried(masked=True, packed=True, padded=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.slow
def test_a_real_model_is_exact_in_every_precision(embedded_model, dtype):
    """Rounding of 30 layers was taken for influence in half precision, and on some processors in float32."""
    model = copy.deepcopy(embedded_model.model).to(dtype)
    assert try_model(model) == Tried(masked=True, packed=True, padded=True)


@pytest.mark.slow
@torch.no_grad()
def test_a_real_model_in_float16_has_the_layouts_that_its_processor_rounds_alike(embedded_model):
    """Without float16 arithmetic (AVX2), rounding alone moves a padded text by 4 percent."""
    model = copy.deepcopy(embedded_model.model).to(torch.float16).eval()
    found = try_model(model)
    texts = list_texts(model)
    alone = [read_texts(model, pad_sequences, [text])[0].logits for text in texts]
    scale = torch.cat(alone).std()
    row = 2 * max(map(len, texts[:-1])) + len(texts[-1])
    layouts = {
        "masked": (partial(pack_sequences, row_length=row, groups=[0] * len(texts), always_mask=True), texts),
        "packed": (partial(pack_sequences, row_length=row), texts),
        "padded": (pad_sequences, texts[:-1]),
    }
    for name, (lay_out, own) in layouts.items():
        together = [reading.logits for reading in read_texts(model, lay_out, own)[: len(texts) - 1]]
        changes = [measure_change(*both) / scale for both in zip(together, alone[:-1], strict=True)]
        assert getattr(found, name) is bool(max(changes) <= 0.03), name
        assert max(changes) < 0.1, f"{name}: more than rounding"
    # Answers' losses in the layout that is used are those of each text alone, and of float32.
    examples = [TokenizedExample(tuple(text[:3]), tuple(text[3:])) for text in texts if len(text) > 3]
    exact = _score(copy.deepcopy(embedded_model.model).float(), examples, Layout.ALONE)
    used = _score(model, examples, None)
    torch.testing.assert_close(used, _score(model, examples, Layout.ALONE), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(used, exact, rtol=1e-2, atol=1e-2)


def _score(model, examples, layout):
    stack = attach_slots(model, find_layers(model, ["q_proj"]), num_slots=1, rank=1)
    try:
        layout = layout or find_layout(stack, 64, 64)
        means = torch.zeros(len(examples))
        for part in split_passes(examples, range(len(examples)), layout, tokens_per_pass=400, row_length=64):
            means.index_add_(0, part.sequence, score_pass(stack, part, None))
        return means / torch.tensor([len(each.target_ids) for each in examples])
    finally:
        stack.detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_that_are_counted_from_the_beginning_of_the_row_are_found(dtype):
    """In bfloat16 the small positions of a random model stayed within the allowance for rounding."""
    config = AutoConfig.for_model("openai-gpt", vocab_size=96, n_positions=64, n_embd=32, n_layer=1, n_head=4)
    model = AutoModelForCausalLM.from_config(config).eval().to(dtype)
    forward = model.forward
    model.forward = lambda input_ids, position_ids=None, **inputs: forward(input_ids, **inputs)
    assert not try_model(model).packed


def test_eager_attention_heeds_masks(build_base):
    model = build_base("llama")
    model.set_attn_implementation("eager")
    assert try_model(model).masked


def test_a_model_that_keeps_a_state_from_left_to_right_is_padded():
    config = AutoConfig.for_model("mamba", vocab_size=96, hidden_size=32, num_hidden_layers=1, state_size=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert try_model(model) == Tried(masked=False, packed=False, padded=True)


def test_a_model_that_reads_no_beginnings_from_positions_needs_masks():
    config = AutoConfig.for_model(
        "opt",
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    assert try_model(model) == Tried(masked=True, packed=False, padded=True)


def test_small_weights_hide_no_leak(build_base):
    model = build_base("llama", initializer_range=0.001)
    forward = model.forward

    def see_everything(input_ids, position_ids=None, attention_mask=None, **inputs):
        return forward(input_ids, torch.ones_like(input_ids), position_ids, **inputs)

    model.forward = see_everything
    assert try_model(model) == Tried(masked=False, packed=False, padded=True)


def test_what_was_found_is_kept_for_the_model(build_base, monkeypatch):
    model = build_base("llama")
    found = try_model(model)
    monkeypatch.setattr(model, "forward", None)
    assert try_model(model) is found


def test_the_trial_leaves_the_model_as_it_was(build_base):
    model = build_base("llama").requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try_model(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
