"""Soft prompts: as PEFT alone and in mixed batches, with a cache, in passes, and refused where it must be."""

import copy
import json
import warnings

import pytest
import torch

from lorary.assembly import load_model
from lorary.data import TokenizedExample
from lorary.errors import BaseModelError, FormatError, IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.parts.soft_prompt import MODEL, SoftPromptPart
from lorary.library import Library
from lorary.models import attach_experts, fold, wrap_base
from lorary.models.grow import drop_expert, insert_expert
from lorary.passes import find_layout, score_pass, split_passes
from lorary.passes.layout import Layout
from lorary.transforms import merge
from tests.mixtures import build_mixture

IDS = torch.randint(3, 96, (4, 7), generator=torch.Generator().manual_seed(2))
pytestmark = pytest.mark.filterwarnings("ignore:expert .* routers do not choose it")
KINDS = ("prompt", "p-tuning", "prefix", "projected prefix")


@pytest.fixture(scope="module")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


def configure(peft, kind):
    return {
        "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        "p-tuning": lambda: peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16
        ),
        "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "projected prefix": lambda: peft.PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=2, prefix_projection=True, encoder_hidden_size=16
        ),
    }[kind]()


def train(peft, base, kind, folder):
    """Write a random soft prompt by PEFT, and return PEFT's model with it."""
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(base), configure(peft, kind)).eval()
        with torch.no_grad():
            for parameter in model.prompt_encoder.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.5)
        model.save_pretrained(folder)
    return model


def run(model, input_ids=IDS, **inputs):
    with torch.no_grad():
        return model(input_ids=input_ids, **{"use_cache": False, **inputs}).logits


def run_peft(model, input_ids=IDS):
    """PEFT's logits, without those of virtual tokens."""
    with torch.no_grad():
        return model(input_ids=input_ids).logits[:, -input_ids.shape[1] :]


@pytest.fixture
def family(request):
    return getattr(request, "param", "llama")


@pytest.fixture
def base(build_base, family):
    return build_base(family)


@pytest.fixture(scope="module")
def trained(peft, build_base, tmp_path_factory):
    """PEFT's model and our expert of each kind, for a family."""
    known = {}

    def find(family):
        if family not in known:
            folder = tmp_path_factory.mktemp(family)
            models = {kind: train(peft, build_base(family), kind, folder / kind) for kind in KINDS}
            known[family] = models, {kind: read_peft(folder / kind) for kind in KINDS}
        return known[family]

    return find


@pytest.fixture
def everyone(trained, family):
    return trained(family)


@pytest.fixture
def plain(base):
    """An expert of low-rank factors."""
    generator = torch.Generator().manual_seed(7)
    factors = {
        path: Factors(
            torch.randn(2, layer.in_features, generator=generator) * 0.3,
            torch.randn(layer.out_features, 2, generator=generator) * 0.3,
        )
        for path, layer in base.named_modules()
        if path.endswith("q_proj")
    }
    return Expert("plain", "", factors)


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


def test_passes_have_the_losses_of_each_sequence_alone(base, everyone):
    models, experts = everyone
    sequences = [
        TokenizedExample((5, 6, 7), (9, 10)),
        TokenizedExample((5, 6), (11, 12, 13)),
        TokenizedExample((20,), (21,)),
    ]
    stack = attach_experts(base, {name: experts[name] for name in ("prompt", "prefix")})
    plan = stack.plan(torch.tensor([[0], [1], [0]]), torch.tensor([[1.0], [1.0], [0.0]]))
    layout = find_layout(stack, 5, 12)
    assert layout is Layout.PADDED
    for way in (layout, Layout.ALONE):
        found = [[], [], []]
        for part in split_passes(sequences, [0, 1, 2], way, tokens_per_pass=40, row_length=12):
            for index, loss in zip(part.sequence.tolist(), score_pass(stack, part, plan), strict=True):
                found[index].append(loss)
        for losses, name, sequence in zip(found, ("prompt", "prefix", None), sequences, strict=True):
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
            logits = run(base, ids) if name is None else run_peft(models[name], ids)
            scores = logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
            expected = -scores[len(sequence.prompt_ids) - 1 :]
            torch.testing.assert_close(torch.stack(losses), expected, rtol=1e-4, atol=1e-4)


def test_several_requests_in_a_row_are_refused(base, everyone, plain):
    _, experts = everyone
    stack = attach_experts(base, {**experts, "plain": plain})
    rows = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    for index, is_refused in ((stack.index("prompt"), True), (stack.index("plain"), False)):
        with stack.planned(torch.tensor([[index], [index]]), torch.ones(2, 1), rows=rows):
            if is_refused:
                with pytest.raises(ValueError, match="a row with a soft prompt must be one request"):
                    run(base, IDS[:1])
            else:
                run(base, IDS[:1])


def test_rows_of_tokens_of_one_request_are_taken(base, everyone):
    models, experts = everyone
    stack = attach_experts(base, experts)
    rows = torch.tensor([[1] * 7, [0] * 7])
    plan = torch.tensor([[stack.index("prompt")], [stack.index("prefix")]])
    with stack.planned(plan, torch.ones(2, 1), rows=rows):
        found = run(base, IDS[:2])
    torch.testing.assert_close(found[0], run_peft(models["prefix"])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], run_peft(models["prompt"])[1], rtol=1e-4, atol=1e-4)


def test_experts_come_and_go(base, everyone, plain):
    models, experts = everyone
    stack = attach_experts(base, {"prompt": experts["prompt"]})
    stack = insert_expert(stack, plain, 0)
    stack = insert_expert(stack, experts["prefix"].rename("prefix"), 1)
    stack = drop_expert(stack, "plain")
    for name in ("prompt", "prefix"):
        with stack.assign([name] * 4):
            torch.testing.assert_close(run(base), run_peft(models[name]), rtol=1e-4, atol=1e-4)
    alone = run(base)
    stack = drop_expert(stack, "prompt")
    with stack.assign(["prefix"] * 4):
        torch.testing.assert_close(run(base), run_peft(models["prefix"]), rtol=1e-4, atol=1e-4)
    stack.detach()
    torch.testing.assert_close(run(base), alone, rtol=0, atol=0)
    assert not base._forward_pre_hooks


def test_a_copy_of_the_model_works_alone(base, everyone):
    models, experts = everyone
    stack = attach_experts(base, experts)
    plan = stack.plan(torch.tensor([[0]] * 4), torch.ones(4, 1))
    copied = copy.deepcopy(base)
    with stack.choosing(plan):
        torch.testing.assert_close(run(base), run_peft(models["prompt"]), rtol=1e-4, atol=1e-4)
        # Its own context has no chooser.
        assert not torch.allclose(run(copied), run(base))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"prompt": 0.5}, "cannot be weighted or combined with another one"),
        ({"prompt": 1.0, "prefix": 1.0}, "cannot be weighted or combined with another one"),
    ],
)
def test_soft_prompts_are_not_weighted(base, everyone, choice, message):
    model = load_model(wrap_base(base), everyone[1], router=None)
    with pytest.raises(ValueError, match=message):
        model(IDS, experts=choice)


def test_a_soft_prompt_and_low_rank_factors_may_be_named_together(base, everyone, plain):
    _, experts = everyone
    expected = attach_experts(fold(base, plain), experts)
    with expected.assign(["prompt"] * 4):
        logits = run(expected.model)
    model = load_model(wrap_base(base), {**experts, "plain": plain}, router=None)
    found = model(IDS, experts={"prompt": 1.0, "plain": 1.0}, use_cache=False).logits
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)


def test_a_router_serves_other_requests_of_the_batch(base, everyone, plain):
    models, experts = everyone
    alone, expected = run(base), run(fold(base, plain))
    model = load_model(wrap_base(base), {**experts, "plain": plain}, router="arrow")
    found = model(IDS, experts=["prompt", "auto", None, "prefix"], use_cache=False).logits
    torch.testing.assert_close(found[0], run_peft(models["prompt"])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], alone[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[3], run_peft(models["prefix"])[3], rtol=1e-4, atol=1e-4)


def test_what_a_soft_prompt_cannot_do_is_refused_with_what_it_can(base, everyone, plain):
    _, experts = everyone
    possible = "can be stored, verified, evaluated, exported"
    with pytest.raises(IncompatibleExpert, match=f"a plain model cannot hold.*{possible}"):
        fold(base, experts["prompt"])
    pair = {"prompt": experts["prompt"].rename("prompt"), "plain": plain}
    with pytest.raises(IncompatibleExpert, match=f"has a soft prompt.*{possible}"):
        merge(pair, method="linear")
    with pytest.raises(IncompatibleExpert, match=f"has a soft prompt.*{possible}"):
        load_model(wrap_base(base), experts, router="arrow")
    model = load_model(wrap_base(base), experts, router=None)
    with pytest.raises(ValueError, match="soft prompt cannot be used with compile"):
        model.generate([[5, 6, 7]], experts="prompt", compile=True)


@pytest.mark.parametrize("family", ["gpt2"], indirect=True)
def test_a_text_that_is_too_long_with_its_soft_prompt_is_refused(base, everyone):
    stack = attach_experts(base, everyone[1])
    ids = torch.full((1, 62), 5)
    with stack.assign(["prompt"]), pytest.raises(BaseModelError, match="67 tokens with its soft prompt"):
        run(base, ids)


def test_a_cache_of_other_experts_is_refused(base, everyone):
    stack = attach_experts(base, everyone[1])
    with torch.no_grad():
        cache = base(input_ids=IDS, use_cache=True).past_key_values
    with stack.assign(["prompt"] * 4), pytest.raises(ValueError, match="made with the same experts"):
        run(base, IDS[:, :1], past_key_values=cache, attention_mask=torch.ones(4, 8), use_cache=True)


def test_a_soft_prompt_of_another_model_is_refused(base):
    for part, message in (
        (SoftPromptPart(torch.ones(3, 31)), "its embeddings have 32 numbers, the expert's 31"),
        (SoftPromptPart(torch.ones(3, 31), has_states=True), "keys and values have 64 numbers"),
    ):
        with pytest.raises(IncompatibleExpert, match=message):
            attach_experts(base, {"x": Expert("x", "", {}, parts={MODEL: (part,)})})


@pytest.mark.parametrize("family", ["gpt2"], indirect=True)
def test_more_virtual_tokens_than_positions_are_refused(base):
    with pytest.raises(IncompatibleExpert, match="61 virtual tokens leave no room in its 64 positions"):
        attach_experts(base, {"x": Expert("x", "", {}, parts={MODEL: (SoftPromptPart(torch.ones(61, 32)),)})})


@pytest.mark.filterwarnings("ignore")
def test_a_model_whose_state_has_no_keys_is_refused_a_prefix():
    base = build_mixture("mamba")
    part = SoftPromptPart(torch.ones(3, 64), has_states=True)
    with pytest.raises(IncompatibleExpert, match="cannot read: its cache has other contents"):
        attach_experts(base, {"x": Expert("x", "", {}, parts={MODEL: (part,)})})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_virtual_tokens": 9}, "num_virtual_tokens is 9"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "a soft prompt for a model with an encoder and a decoder"),
        ({"num_virtual_tokens": "5"}, "num_virtual_tokens must be a whole number"),
    ],
)
def test_damaged_files_are_refused(peft, base, tmp_path, change, message):
    train(peft, base, "prompt", tmp_path / "x")
    path = tmp_path / "x" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match=message):
        read_peft(tmp_path / "x")
