"""Experts on models with an encoder and a decoder, compared with PEFT and with folded models."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSeq2SeqLM

from lorary.experts import Expert, read_peft, write_peft
from lorary.models import attach_experts, find_layers, fold, load_base, save_folded, wrap_base
from lorary.models.called import find_reading_layers, find_unfit_layers
from lorary.models.positions import count_positions
from lorary.models.same_input import group_same_inputs
from tests.encoder_decoders import KINDS, build_base, build_model, build_tokenizer, draw_batch

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of PEFT
    pytest.mark.filterwarnings("ignore:You have passed exclude_modules"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
]
TARGETS = {"t5": ["q", "v"], "flan-t5": ["q", "wi_1", "wo", "lm_head"], "bart": ["q_proj", "fc1"]}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@torch.no_grad()
def compute_logits(model, batch):
    return model(**batch, use_cache=False).logits


def train_with_peft(kind, folder, seed):
    """Save a PEFT adapter with random weights, and return its folder."""
    config = LoraConfig(r=2, lora_alpha=6, target_modules=TARGETS[kind], task_type="SEQ_2_SEQ_LM")
    adapted = get_peft_model(build_model(kind), config)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture
def adapters(kind, tmp_path):
    return {name: train_with_peft(kind, tmp_path / name, seed) for seed, name in enumerate(("sql", "law"))}


def test_experts_by_name_in_a_mixed_batch_answer_as_with_peft(kind, adapters):
    batch = draw_batch()
    experts = {name: read_peft(folder, name=name) for name, folder in adapters.items()}
    expected = {
        name: compute_logits(PeftModel.from_pretrained(build_model(kind), folder).eval(), batch)
        for name, folder in adapters.items()
    }
    base = build_base(kind)
    plain = compute_logits(base.model, batch)
    stack = attach_experts(base.model, experts)
    with stack.assign(["law", None, "sql"]):
        found = compute_logits(base.model, batch)
    for row, logits in enumerate([expected["law"], plain, expected["sql"]]):
        torch.testing.assert_close(found[row], logits[row], rtol=1e-4, atol=1e-4)
    assert torch.equal(compute_logits(stack.detach(), batch), plain)


def test_a_folded_expert_answers_as_when_assigned_and_is_saved_whole(kind, adapters, tmp_path):
    batch = draw_batch()
    expert = read_peft(adapters["sql"], base_model=f"tiny-{kind}")
    base = build_base(kind)
    save_folded(base, expert, tmp_path / "folded")
    again = load_base(str(tmp_path / "folded"), dtype=torch.float32)
    folded = compute_logits(fold(base.model, expert), batch)
    with attach_experts(base.model, {"sql": expert}).assign(["sql"] * 3):
        torch.testing.assert_close(compute_logits(base.model, batch), folded, rtol=1e-4, atol=1e-4)
    assert torch.equal(compute_logits(again.model, batch), folded)
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "folded" / "README.md").read_text()


def test_an_expert_that_is_written_keeps_its_task_type_and_loads_in_peft(kind, adapters, tmp_path):
    batch = draw_batch()
    expert = read_peft(adapters["sql"])
    assert expert.card.task_type == "SEQ_2_SEQ_LM"
    write_peft(expert, tmp_path / "again")
    assert read_peft(tmp_path / "again").card.task_type == "SEQ_2_SEQ_LM"
    before, after = (
        PeftModel.from_pretrained(build_model(kind), folder).eval()
        for folder in (adapters["sql"], tmp_path / "again")
    )
    assert type(after).__name__ == "PeftModelForSeq2SeqLM"
    torch.testing.assert_close(
        compute_logits(after, batch), compute_logits(before, batch), rtol=1e-4, atol=1e-4
    )
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "again" / "README.md").read_text()


def test_a_folder_is_loaded_with_its_encoder_and_its_identity(kind, tmp_path):
    base = build_base(kind)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    again = load_base(str(tmp_path), dtype=torch.float32)
    assert again.is_encoder_decoder
    assert again.task_type == "SEQ_2_SEQ_LM"
    assert again.fingerprint == base.fingerprint
    batch = draw_batch()
    assert torch.equal(compute_logits(again.model, batch), compute_logits(base.model, batch))


def test_layers_that_t5_keeps_in_float32_have_experts_in_float32(tmp_path):
    build_model("flan-t5").save_pretrained(tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float16)
    base = wrap_base(model, build_tokenizer())
    path = train_with_peft("flan-t5", tmp_path / "sql", 0)
    stack = attach_experts(base.model, {"sql": read_peft(path, name="sql")})
    dtypes = {path.rpartition(".")[2]: layer.a.dtype for path, layer in stack.layers.items()}
    assert (dtypes["wo"], dtypes["wi_1"]) == (torch.float32, torch.float16)
    batch = draw_batch()
    with stack.assign(["sql"] * 3):
        found = compute_logits(model, batch)
    exact = fold(build_model("flan-t5"), read_peft(path, name="sql"))
    wanted = compute_logits(exact, batch)
    assert float((found.float() - wanted).square().mean().sqrt()) < 0.02 * float(wanted.std())


def test_every_linear_layer_can_have_experts_and_those_of_the_prompt_are_known(kind):
    model = build_model(kind)
    assert find_unfit_layers(model) == {}
    paths = set(find_layers(model, "all-linear"))
    reading = {path for path in paths if ".encoder." in f".{path}"}
    cross = [path for path in paths if "EncDecAttention" in path or "encoder_attn" in path]
    reading |= {path for path in cross if path.rpartition(".")[2][0] in "kv"}
    assert find_reading_layers(model) & paths == reading


def test_layers_of_one_input_are_grouped_across_the_decoder(make_expert):
    model = build_model("t5")
    stack = attach_experts(model, {"sql": make_expert(model, "sql", targets=["k", "v"])})
    groups = group_same_inputs(stack)
    cross = tuple(f"decoder.block.{n}.layer.1.EncDecAttention.{kv}" for n in range(2) for kv in "kv")
    assert cross in groups
    assert sorted(path for group in groups for path in group) == sorted(stack.layers)


def test_positions_are_counted_where_there_is_a_table():
    assert count_positions(build_model("t5")) is None
    assert count_positions(build_model("bart")) == 96


def test_beams_and_several_answers_of_a_call_use_the_experts_of_their_prompt(kind, adapters):
    experts = {name: read_peft(folder, name=name) for name, folder in adapters.items()}
    base = build_base(kind)
    batch = {name: rows for name, rows in draw_batch().items() if name != "decoder_input_ids"}
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 5, "do_sample": False}
    expected = {name: fold(base.model, expert).generate(**batch, **beams) for name, expert in experts.items()}
    stack = attach_experts(base.model, experts)
    names = ["law", "sql", "law"]
    with stack.choosing(stack.plan(*pick(stack, names)), rows=torch.arange(3)):
        found = base.model.generate(**batch, **beams)
    for row, name in enumerate(names):
        for answer in (2 * row, 2 * row + 1):
            assert strip(found[answer]) == strip(expected[name][answer])


def pick(stack, names):
    return torch.tensor([[stack.index(name)] for name in names]), torch.ones(len(names), 1)


def strip(ids):
    return [token for token in ids.tolist() if token != 0]


def test_a_model_with_an_expert_of_other_layers_is_refused_by_name(make_expert):
    from lorary.errors import IncompatibleExpert

    model = build_model("bart")
    expert = make_expert(build_model("t5"), "sql", targets=["q"])
    with pytest.raises(IncompatibleExpert, match="does not fit this BartForConditionalGeneration"):
        attach_experts(model, {"sql": Expert("sql", "", expert.factors)})
