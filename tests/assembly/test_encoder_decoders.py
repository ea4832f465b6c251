"""Routed models with an encoder and a decoder: answers, routers, facts and direct calls."""

import pytest
import torch
from peft import PeftModel
from transformers import GenerationConfig

from lorary.assembly import load_model, save_model
from lorary.data import TokenizedExample
from lorary.errors import BaseModelError
from lorary.experts import write_peft
from lorary.facts import collect_inputs, find_task_facts
from lorary.facts.means import mean_activations
from lorary.models import fold, wrap_base
from lorary.routing import RetrievalConfig
from lorary.training import TrainingExamples
from lorary.transforms.prototypes import library_prototypes
from tests.encoder_decoders import KINDS, PIECES, build_base, build_model, draw_batch

PROMPTS = ["plural of mouse", "2024-01-03", "-. --- .--. ."]
NAMES = ["dates", "morse", "plurals"]
GENERIC = ["What is the time?", "A house by the sea", "Say yes", "12 + 3", "Once upon a time"]
TARGETS = {"t5": "all-linear", "flan-t5": ["q", "v"], "bart": ["q_proj", "v_proj", "fc2"]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def build(draw_expert):
    """Build a base model without an end, and three experts."""

    def build(kind="t5"):
        base = build_base(kind)
        base.model.generation_config.eos_token_id = None
        base.tokenizer.eos_token = None
        targets = {"targets": TARGETS[kind], "task_type": "SEQ_2_SEQ_LM"}
        return base, {name: draw_expert(base, name, **targets) for name in NAMES}

    return build


@pytest.fixture
def t5(build):
    return build("t5")


@pytest.fixture
def experts(t5):
    return t5[1]


@pytest.fixture
def encoded(t5):
    return load_model(*t5)


def answer_naively(model, tokenizer, prompt, num_tokens):
    """Answer one prompt greedily, with a pass over everything so far for each token."""
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    answer = torch.tensor([[model.config.decoder_start_token_id]])
    for _ in range(num_tokens):
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=answer, use_cache=False).logits[:, -1]
        answer = torch.cat([answer, logits.argmax(-1, keepdim=True)], 1)
    return answer[0, 1:].tolist()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT
def test_answers_of_a_mixed_batch_are_pefts(kind, build, tmp_path):
    base, experts = build(kind)
    for name in ("dates", "morse"):
        write_peft(experts[name], tmp_path / name)
    expected = [
        *(
            answer_naively(
                PeftModel.from_pretrained(build_model(kind), tmp_path / name), base.tokenizer, prompt, 6
            )
            for name, prompt in zip(("morse", "dates"), PROMPTS, strict=False)
        ),
        answer_naively(build_model(kind), base.tokenizer, PROMPTS[2], 6),
    ]
    model = load_model(base, experts, router=None)
    found = model.generate(PROMPTS, experts=["morse", "dates", None], max_new_tokens=[6, 3, 6])
    assert found == [
        base.tokenizer.decode(ids, skip_special_tokens=True)
        for ids in (expected[0], expected[1][:3], expected[2])
    ]
    assert model.generate(PROMPTS[0], experts={"morse": 1.0}, max_new_tokens=6) == found[0]


def test_an_answer_ends_at_its_end_token_its_first_line_and_its_limit(t5):
    base, experts = t5
    ids = [base.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    model = load_model(build_copy(base, None), experts, router=None)
    whole = model.generate(ids, experts="dates", max_new_tokens=9)
    assert [len(answer) for answer in whole] == [9] * 3
    model.model.generation_config.eos_token_id = whole[0][2]
    first, *others = model.generate(ids, experts="dates", max_new_tokens=[9, 4, 5])
    assert first == whole[0][: whole[0].index(whole[0][2]) + 1]
    assert all(answer == own[: len(answer)] for answer, own in zip(others, whole[1:], strict=True))


def build_copy(base, tokenizer):
    model = build_model("t5")
    model.generation_config.eos_token_id = base.model.generation_config.eos_token_id
    return wrap_base(model, tokenizer, name=base.name)


def test_without_a_tokenizer_the_answers_are_token_ids(build):
    base, experts = build("t5")
    ids = [base.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    model = load_model(build_copy(base, None), experts)
    found = model.generate(ids, experts="morse", max_new_tokens=5)
    folded = fold(build_model("t5"), experts["morse"])
    assert found == [answer_naively(folded, base.tokenizer, prompt, 5) for prompt in PROMPTS]


def test_the_default_router_is_arrow_and_equals_a_naive_reference(build):
    base, experts = build("t5")
    prototypes = library_prototypes(experts)
    batch = draw_batch()
    model = load_model(base, experts, top_k=2)
    assert model.routing[0] == "arrow"
    found = model(**batch).logits
    plain = build_model("t5")
    hooks = [
        plain.get_submodule(path).register_forward_hook(route_naively(experts, path, *prototypes[path], 2))
        for path in model.stack.layers
    ]
    torch.testing.assert_close(found, plain(**batch).logits, rtol=1e-4, atol=1e-4)
    assert len(hooks) == len(model.stack.layers)


def route_naively(experts, path, prototypes, gains, top_k):
    """Add the experts of each token by Arrow's rule, one token at a time."""

    def hook(layer, inputs, output):
        tokens, changed = inputs[0].flatten(0, -2), output.flatten(0, -2).clone()
        for place, x in enumerate(tokens):
            scores = (prototypes @ x).abs()
            best = scores.topk(top_k)
            for expert, weight in zip(best.indices.tolist(), best.values.softmax(0), strict=True):
                a, b = experts[list(experts)[expert]].factors[path]
                changed[place] += weight * (b @ (a @ x))
        return changed.view_as(output)

    return hook


@pytest.mark.parametrize("router", ["spectr", "lag", "uniform", "fixed", "single"])
def test_other_routers_of_layers_route_batches_as_single_prompts(encoded, router):
    options = {"fixed": {"weights": {"dates": 0.5, "morse": 0.5}}, "single": {"expert": "morse"}}
    encoded_router = encoded.router(router, **options.get(router, {}))
    together = encoded.generate(PROMPTS, experts=encoded_router, max_new_tokens=4)
    assert together == [encoded.generate(each, experts=encoded_router, max_new_tokens=4) for each in PROMPTS]


@pytest.fixture
def examples(encoded):
    def encode(text):
        return tuple(encoded.tokenizer(text)["input_ids"])

    pairs = zip(NAMES, PROMPTS, ["mice", "January 3", "north"], strict=True)
    return {
        name: TrainingExamples(train=(TokenizedExample(encode(prompt), encode(answer)),) * 2)
        for name, prompt, answer in pairs
    }


def test_routers_per_request_read_the_prompt_with_the_encoder(encoded, examples):
    encoded.provide(find_task_facts(encoded, {}, examples, ["embeddings"]))
    encoded.set_router("retrieval", RetrievalConfig(top_k=1, nearest=1))
    own = [list(examples[name].train[0].prompt_ids) for name in NAMES]
    batch = pad_right(own)
    indices, _ = encoded.decider.decide(**batch)
    assert indices[:, 0].tolist() == [encoded.stack.index(name) for name in NAMES]
    found = encoded.generate(own, max_new_tokens=4)
    assert found == encoded.generate(own, experts=NAMES, max_new_tokens=4)
    with encoded.routed(None):
        assert found != encoded.generate(own, max_new_tokens=4)


@pytest.mark.parametrize("router", ["logo", "card", "hilora"])
def test_routers_that_run_experts_or_ask_read_prompts_with_the_encoder(encoded, examples, router):
    encoded.provide(find_task_facts(encoded, {}, examples, ["components"]))
    options = {"runs": "each"} if router == "logo" else {}
    decider = encoded.router(router, **options).decider
    prompts = [encoded.tokenizer(text)["input_ids"] for text in PROMPTS]
    indices, weights = decider.decide_prompts(prompts)
    for row, ids in enumerate(prompts):
        alone, alone_weights = decider.decide_prompts([ids])
        assert torch.equal(alone[0], indices[row])
        torch.testing.assert_close(alone_weights[0], weights[row], atol=1e-4, rtol=1e-4)
    answers = encoded.generate(PROMPTS, experts=encoded.router(router, **options), max_new_tokens=3)
    assert all(isinstance(answer, str) for answer in answers)


def test_a_router_that_reads_next_tokens_off_blocks_refuses_an_encoder(encoded):
    with pytest.raises(ValueError, match="an encoder has no next-token distribution; use another router"):
        encoded.router("qa_flora")


def pad_right(prompts):
    longest = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in prompts]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in prompts]),
    }


@pytest.fixture
def retrieving(encoded, examples):
    encoded.provide(find_task_facts(encoded, {}, examples, ["embeddings"]))
    encoded.set_router("retrieval", RetrievalConfig(top_k=1, nearest=1))
    return encoded, pad_right([list(examples[name].train[0].prompt_ids) for name in NAMES])


@torch.no_grad()
def test_the_transformers_model_routes_its_own_calls_and_generation(retrieving, experts):
    model, batch = retrieving
    decoder = {"decoder_input_ids": torch.tensor([[0, 5, 6]] * 3)}
    found = model.model(**batch, **decoder).logits
    with model.assign(NAMES):
        assert torch.equal(found, model.model(**batch, **decoder).logits)
    for options in ({}, {"num_beams": 2}, {"num_beams": 3, "num_return_sequences": 2}):
        options = {**options, "max_new_tokens": 5, "do_sample": False}
        answers = model.model.generate(**batch, **options)
        with model.assign(NAMES):
            assert torch.equal(answers, model.model.generate(**batch, **options))
        alone = [
            fold(build_model("t5"), experts[name]).generate(
                input_ids=batch["input_ids"][row : row + 1],
                attention_mask=batch["attention_mask"][row : row + 1],
                eos_token_id=None,
                **options,
            )
            for row, name in enumerate(NAMES)
        ]
        assert torch.equal(answers, torch.cat(alone))


@torch.no_grad()
def test_a_decoder_that_goes_on_with_unknown_prompts_is_refused(retrieving):
    model, batch = retrieving
    with model.routed(None):
        states = model.model.get_encoder()(**batch)
    call = {"encoder_outputs": states, "decoder_input_ids": torch.tensor([[0]] * 3)}
    with pytest.raises(
        ValueError, match="needs the prompts of a call: pass input_ids, or as encoder_outputs"
    ):
        model.model(**call)
    own = model.model.get_encoder()(**batch)
    found = model.model(encoder_outputs=own, decoder_input_ids=torch.tensor([[0]] * 3)).logits
    with model.assign(NAMES):
        expected = model.model(encoder_outputs=own, decoder_input_ids=torch.tensor([[0]] * 3)).logits
    assert torch.equal(found, expected)
    with model.assign(NAMES[:2]), pytest.raises(ValueError, match="experts were given for 2 sequences"):
        model.model(**batch, decoder_input_ids=torch.tensor([[0]] * 3))


def test_the_calibrated_router_needs_generic_prompts_and_reads_them_with_the_encoder(build):
    base, experts = build("t5")
    message = r"writes no generic text: pass about a hundred usual prompts as generic=\[…\], or use another"
    with pytest.raises(ValueError, match=message):
        load_model(base, experts, router="calibrated")
    model = load_model(base, experts, generic=GENERIC)
    assert model.routing[0] == "calibrated"
    alone = [model.decider.decide(**pad_right([base.tokenizer(p)["input_ids"]])) for p in PROMPTS]
    together = model.decider.decide(**pad_right([base.tokenizer(p)["input_ids"] for p in PROMPTS]))
    torch.testing.assert_close(together[1], torch.cat([weights for _, weights in alone]))
    assert model.generate(PROMPTS, max_new_tokens=3) == [model.generate(p, max_new_tokens=3) for p in PROMPTS]


def test_the_calibrated_router_refuses_experts_of_decoder_layers_only(build, draw_expert):
    base, _ = build("t5")
    experts = {name: draw_expert(base, name, targets=r"decoder.*\.[qo]") for name in NAMES}
    with pytest.raises(
        ValueError, match="needs experts that change layers of the encoder, or keys and values"
    ):
        load_model(base, experts, generic=GENERIC)
    assert load_model(base, experts).routing[0] == "arrow"


def test_means_are_those_of_encoder_and_decoder_alone(encoded, experts, examples):
    sequences = {name: found.train for name, found in examples.items()}
    found = mean_activations(encoded.stack, sequences)
    inputs = collect_inputs(encoded.stack, sequences)
    for row, name in enumerate(NAMES):
        folded = fold(build_model("t5"), experts[name])
        example = examples[name].train[0]
        for path, expected in read_inputs(folded, example).items():
            torch.testing.assert_close(found[path][row], expected.mean(0), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(inputs[path][row], expected.repeat(2, 1), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="texts must be examples with prompt and target for T5"):
        mean_activations(encoded.stack, {"dates": [[5, 6]]})
    encoded.provide(find_task_facts(encoded, {}, examples, ["means"]))
    encoded.set_router("mean_activation")
    assert encoded.generate(PROMPTS[0], max_new_tokens=2)


@torch.no_grad()
def read_inputs(model, example):
    found, hooks = {}, []
    for path, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and path != "lm_head":
            hook = layer.register_forward_pre_hook(
                lambda _, x, path=path: found.setdefault(path, x[0].flatten(0, -2))
            )
            hooks.append(hook)
    labels = torch.tensor([example.target_ids])
    model(input_ids=torch.tensor([example.prompt_ids]), labels=labels)
    return found


def test_explanations_are_of_the_encoder(encoded):
    explanation = encoded.explain(PROMPTS[0])
    assert len(explanation.tokens) == len(encoded.tokenizer(PROMPTS[0])["input_ids"])
    assert set(explanation.layers) == {path for path in encoded.stack.layers if path.startswith("encoder.")}


def test_rows_are_those_of_whole_prompts(encoded):
    batch = draw_batch()
    rows = (
        torch.tensor([1, 0, 1])[:, None].expand_as(batch["input_ids"]).where(batch["attention_mask"] > 0, -1)
    )
    found = encoded(**batch, experts=["dates", "morse"], rows=rows).logits
    assert torch.equal(found, encoded(**batch, experts=["morse", "dates", "morse"]).logits)
    rows = rows.clone()
    rows[1, 0] = 1
    with pytest.raises(ValueError, match="must be of one request, found several in row 1"):
        encoded(**batch, experts=["dates", "morse"], rows=rows)


def test_what_does_not_apply_is_refused(encoded):
    with pytest.raises(
        ValueError, match=r"compile works for causal language models, and T5For.* has an encoder"
    ):
        encoded.generate(PROMPTS, compile=True)
    config = GenerationConfig(num_beams=2)
    with pytest.raises(ValueError, match="num_beams must be 1"):
        encoded.generate(PROMPTS, generation_config=config)


def test_settings_that_look_at_the_prompt_answer_prompts_of_one_length_together(encoded):
    config = GenerationConfig(encoder_repetition_penalty=1.5)
    settings = {"generation_config": config, "max_new_tokens": 5, "experts": "dates"}
    assert encoded.generate(PROMPTS, **settings) == [encoded.generate(each, **settings) for each in PROMPTS]


def test_a_saved_model_is_loaded_with_its_encoder(build, tmp_path):
    base, experts = build("bart")
    model = load_model(base, experts, top_k=2)
    save_model(model, tmp_path / "saved", with_base=True)
    again = load_model(tmp_path / "saved", dtype=torch.float32)
    again.model.generation_config.eos_token_id = None
    again.tokenizer.eos_token = None
    assert again.routing[0] == "arrow"
    assert again.generate(PROMPTS, max_new_tokens=4) == model.generate(PROMPTS, max_new_tokens=4)


def test_a_prompt_beyond_the_positions_is_refused(build):
    base, experts = build("bart")
    model = load_model(base, experts)
    assert model.generate([[5] * 96], max_new_tokens=90) is not None
    with pytest.raises(BaseModelError, match=r"has 97 tokens, but BartFor.* has 96 positions"):
        model.generate([[5] * 97], max_new_tokens=2)
    assert len(PIECES) > 96
