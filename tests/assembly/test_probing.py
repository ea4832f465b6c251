"""Routers that run experts, or ask the base model, against naive dense versions, prompt by prompt."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.errors import BaseModelError
from lorary.experts import ExpertCard
from lorary.facts import find_task_facts
from lorary.models import wrap_base
from lorary.routing import configure_router
from lorary.routing.card import ASKING, OPENING
from lorary.routing.component_plan import divide_components
from tests.facts.texts import take_for_examples

PROMPTS = ["plural of mouse", "Sort these: pear, fig", "a"]
PLACE = "model.layers.1.self_attn.q_proj"


def encode(model, texts=PROMPTS):
    return [model.tokenizer(text)["input_ids"] for text in texts]


def decide(model, name, texts=PROMPTS, **options):
    """Indices and weights of each prompt, all decided in one batch."""
    return model.router(name, **options).decider.decide_prompts(encode(model, texts))


def change_densely(base, experts, weights):
    """The base model with a weighted sum of dense weight changes."""
    for name, weight in weights.items():
        for path, (a, b) in experts[name].factors.items():
            base.model.get_submodule(path).weight.data += weight * (b @ a)
    return base.model


@torch.no_grad()
def read_last_input(model, path, ids):
    """The input of a layer at a prompt's last token."""
    seen = []
    handle = model.get_submodule(path).register_forward_pre_hook(
        lambda _, given: seen.append(given[0][0, -1])
    )
    model(input_ids=torch.tensor([ids]))
    handle.remove()
    return seen[0]


def score_naively(experts, inputs, measure):
    """Score each expert by its dense output for its input."""
    scores = []
    for name, x in inputs.items():
        pair = experts[name].factors.get(PLACE)
        output = torch.zeros(16) if pair is None else pair.b @ (pair.a @ x)
        if measure == "norm":
            scores.append(output.norm())
        else:
            shares = output.softmax(0)
            scores.append(1 / (-(shares * shares.log()).sum() + 1e-6))
    return torch.stack(scores)


@pytest.mark.parametrize("measure", ["norm", "entropy"])
@pytest.mark.parametrize("runs", ["together", "each", "alone"])
def test_logo_weighs_dense_outputs_at_the_last_token(model, experts, build_tiny_base, runs, measure):
    indices, weights = decide(model, "logo", runs=runs, measure=measure, top_k=3, place=PLACE)
    all_on = change_densely(build_tiny_base(), experts, dict.fromkeys(experts, 1.0))
    for row, ids in enumerate(encode(model)):
        if runs == "each":
            inputs = {
                name: read_last_input(change_densely(build_tiny_base(), experts, {name: 1.0}), PLACE, ids)
                for name in experts
            }
        else:
            bare = all_on if runs == "together" else build_tiny_base().model
            inputs = dict.fromkeys(experts, read_last_input(bare, PLACE, ids))
        scores = score_naively(experts, inputs, measure)
        best = scores.argsort(descending=True)[:3]
        assert torch.equal(indices[row], best)
        torch.testing.assert_close(weights[row], scores[best] / scores[best].sum(), atol=1e-4, rtol=1e-4)


def test_logo_looks_at_the_last_block_and_keeps_20_experts_at_most(model):
    router = model.router("logo").decider.router
    assert (router.places, router.top_k) == ((PLACE,), 5)
    with pytest.raises(ValueError, match=r"place must be a layer with experts .*, found 'q_proj': "):
        model.router("logo", place="q_proj")


@torch.no_grad()
def diverge_naively(base, experts, ids):
    """KL(base ‖ expert) after each block, by transformers' own hidden states, [G, E]."""

    def read(model):
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[1:]
        return [model.lm_head(state[0, -1]).double().log_softmax(-1) for state in states]

    before = read(base())
    after = [read(change_densely(wrap_base(base()), experts, {name: 1.0})) for name in experts]
    return torch.stack(
        [
            torch.stack([(log.exp() * (log - own[block])).sum() for own in after])
            for block, log in enumerate(before)
        ]
    )


def test_qa_flora_weighs_experts_by_dense_divergences_in_every_block(model, experts, build_tiny_base):
    indices, weights = decide(model, "qa_flora")
    assert weights.shape == (3, 2, 5)
    for row, ids in enumerate(encode(model)):
        expected = diverge_naively(lambda: build_tiny_base().model, experts, ids)
        expected = (expected / expected.sum(1, keepdim=True)).float()
        found = torch.zeros(2, 5).scatter_(1, indices[row].expand(2, -1), weights[row])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_qa_flora_answers_as_dense_sums_with_the_weights_of_each_block(model, experts, build_tiny_base):
    model.set_router("qa_flora")
    shares = model.explain(PROMPTS[0])
    base = build_tiny_base()
    for number, name in enumerate(experts):
        for path, (a, b) in experts[name].factors.items():
            weight = shares.weights[shares.layers.index(path), 0, number]
            base.model.get_submodule(path).weight.data += weight * (b @ a)
    ids = torch.tensor(encode(model, PROMPTS[:1]))
    torch.testing.assert_close(
        model(input_ids=ids).logits, base.model(input_ids=ids).logits, atol=1e-4, rtol=1e-4
    )
    q, down = (
        shares.layers.index(f"model.layers.{path}") for path in ("0.self_attn.q_proj", "1.mlp.down_proj")
    )
    assert not torch.allclose(shares.weights[q], shares.weights[down])


def test_qa_flora_keeps_the_same_experts_in_all_blocks(model):
    indices, weights = decide(model, "qa_flora", top_k=2)
    _, everyone = decide(model, "qa_flora")
    assert indices.shape == (3, 2) and weights.shape == (3, 2, 2)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2))
    assert torch.equal(indices, decide(model, "qa_flora")[0][:, :2])
    assert (everyone > 0).all()


CARDS = {
    "dates": ExpertCard(description="Writes dates\nin words.", tasks=("dates",)),
    "morse": ExpertCard(tasks=("morse code", "morse")),
    "plurals": ExpertCard(description="x" * 500),
}


@pytest.fixture
def carded(build_tiny_base, draw_expert):
    """Experts with cards on a model with room for long texts."""
    base = build_tiny_base()
    experts = {
        name: replace(expert, card=replace(expert.card, description=own.description, tasks=own.tasks))
        for name, own in CARDS.items()
        if (expert := draw_expert(base, name))
    }
    return load_model(base, experts, router=None)


LINES = ["- dates: Writes dates in words.\n", "- morse: tasks: morse code\n", f"- plurals: {'x' * 120}\n"]


@torch.no_grad()
def score_names(model, lines, names, text):
    """The log-likelihood of each name, by one plain call each."""
    prompt = model.tokenizer(OPENING + "".join(lines) + ASKING.format(request=text))["input_ids"]
    found = []
    for name in names:
        answer = model.tokenizer(f" {name}\n", add_special_tokens=False)["input_ids"]
        with model.assign([None]):
            logits = model.model(input_ids=torch.tensor([prompt + answer])).logits[0]
        logs = logits[len(prompt) - 1 : -1].log_softmax(-1)
        found.append(logs[torch.arange(len(answer)), answer].sum())
    return torch.stack(found)


@pytest.mark.parametrize("chunk", [32, 2])
def test_the_card_router_scores_names_after_all_cards_and_the_request(carded, chunk):
    indices, weights = decide(carded, "card", top_k=3, chunk=chunk)
    for row, text in enumerate(PROMPTS):
        names = list(CARDS)
        if chunk == 32:
            scores = score_names(carded, LINES, names, text)
        else:
            parts = [score_names(carded, LINES[part], names[part], text) for part in (slice(2), slice(2, 3))]
            scores = torch.cat(parts)
        expected = scores.softmax(0)
        assert torch.equal(indices[row], scores.argsort(descending=True))
        torch.testing.assert_close(weights[row], expected[indices[row]], atol=1e-4, rtol=1e-3)


def test_long_requests_are_read_from_their_end(carded):
    router = carded.router("card", max_tokens=5)
    long, short = (router.decider.decide_prompts(encode(carded, [text])) for text in ("abc " * 50, " abc "))
    assert torch.equal(long[0], short[0])


def build_other(build_tiny_base, tiny_config, family):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    bare = AutoModelForCausalLM.from_config(tiny_config(family, vocab_size=257))
    return wrap_base(bare, build_tiny_base().tokenizer, name=f"tiny-{family}")


def test_cards_that_do_not_fit_the_model_are_refused(build_tiny_base, draw_expert, tiny_config):
    base = build_other(build_tiny_base, tiny_config, "gpt2")
    model = load_model(base, {"dates": draw_expert(base, "dates")}, router="card")
    with pytest.raises(BaseModelError, match="the text with the experts' cards and the request has "):
        model.generate("a", max_new_tokens=2)


@pytest.mark.parametrize("name", ["logo", "qa_flora"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_other_architectures_are_run_too(build_tiny_base, draw_expert, tiny_config, family, name):
    base = build_other(build_tiny_base, tiny_config, family)
    experts = {each: draw_expert(base, each) for each in ("dates", "morse", "plurals")}
    model = load_model(base, experts, router=name, **({"runs": "each"} if name == "logo" else {}))
    found = model.decider.decide_prompts(encode(model))
    for row, ids in enumerate(encode(model)):
        alone = model.decider.decide_prompts([ids])
        assert torch.equal(alone[0][0], found[0][row])
        torch.testing.assert_close(alone[1][0], found[1][row], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["logo", "qa_flora", "card", "hilora"])
def test_half_precision_one_expert_and_an_expert_of_zeros(build_tiny_base, draw_expert, name):
    base = build_tiny_base(dtype=torch.bfloat16)
    dates, zero = draw_expert(base, "dates"), draw_expert(base, "zero", rank=1)
    zeros = {path: pair._replace(b=0 * pair.b) for path, pair in zero.factors.items()}
    model = load_model(base, {"dates": dates, "zero": replace(zero, factors=zeros)}, router=None)
    ids = {each: encode(model)[:2] for each in model.names}
    facts = find_task_facts(model, {}, take_for_examples(ids), ["components"])
    model.provide(facts)
    indices, weights = decide(model, name)
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]), atol=1e-3, rtol=0)
    if name in ("logo", "qa_flora"):  # what adds nothing has no share
        places = indices if weights.dim() == 2 else indices[:, None].expand(weights.shape)
        assert weights[places == 1].max() < 1e-3
    model.set_router(name)
    assert isinstance(model.generate("plural of mouse", max_new_tokens=2), str)
    model.set_router(None)
    model.remove_expert("zero")
    _, alone = decide(model, name)
    torch.testing.assert_close(alone, torch.ones_like(alone))


def test_components_of_experts_answer_as_dense_sums(ready, experts, build_tiny_base):
    """HiLoRA on a whole model: each token's kept components, one after the other."""
    ready.set_router("hilora", configure_router("hilora", {"top_k": 2, "share": 0.5}))
    (ids,) = encode(ready, PROMPTS[:1])
    indices, shares = ready.decider.decide_prompts([ids])
    bare = build_tiny_base().model
    names = [ready.names[index] for index in indices[0].tolist()]
    for path, layer in ready.stack.layers.items():
        rank = layer.a.shape[1]
        counts = divide_components(shares, max(rank, round(0.5 * 2 * rank)), rank)[0].tolist()
        pairs = [experts[name].factors.get(path) for name in names]
        bare.get_submodule(path).register_forward_hook(partial(add_components, pairs, counts, rank))
    with torch.no_grad():
        found = ready(input_ids=torch.tensor([ids])).logits
        expected = bare(input_ids=torch.tensor([ids])).logits
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def add_components(pairs, counts, rank, layer, inputs, output):
    """Add the components with the longest outputs for each token; ranks are padded with zeros."""
    changed = output.clone()
    for place, x in enumerate(inputs[0][0]):
        for pair, count in zip(pairs, counts, strict=True):
            if pair is None:
                continue
            parts = [pair.b[:, r] * (pair.a[r] @ x) for r in range(pair.rank)]
            for part in sorted(parts, key=torch.linalg.vector_norm, reverse=True)[:count]:
                changed[0, place] += part * (rank / sum(counts)) ** 0.5
    return changed


@pytest.mark.parametrize("name", ["logo", "qa_flora", "card", "hilora"])
def test_a_saved_model_decides_as_before(ready, tmp_path, name):
    ready.set_router(name)
    before = ready.decider.decide_prompts(encode(ready))
    save_model(ready, tmp_path / "saved", with_base=True)
    opened = load_model(tmp_path / "saved")
    assert opened.routing[0] == name
    found = opened.decider.decide_prompts(encode(opened))
    names = [[ready.names[index] for index in row] for row in before[0].tolist()]
    assert [[opened.names[index] for index in row] for row in found[0].tolist()] == names
    torch.testing.assert_close(found[1], before[1], atol=1e-4, rtol=1e-4)


def test_requests_of_all_kinds_share_a_batch(ready):
    routers = [ready.router(name) for name in ("hilora", "qa_flora", "logo", "card", "arrow")]
    choices = [None, "prices", {"dates": 0.5, "morse": 0.5}, *routers]
    prompts = [f"{PROMPTS[0]} {number}" for number in range(len(choices))]
    together = ready.generate(prompts, experts=choices, max_new_tokens=4)
    alone = [
        ready.generate(prompt, experts=choice, max_new_tokens=4)
        for prompt, choice in zip(prompts, choices, strict=True)
    ]
    assert together == alone


def test_components_are_not_combined_by_their_factors(ready):
    with pytest.raises(
        ValueError, match="router 'hilora' combines outputs, not factors: it chooses components"
    ):
        ready.router("hilora", combine="factors")
