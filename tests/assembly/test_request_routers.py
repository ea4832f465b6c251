"""Every router that decides per request on a whole model."""

import pytest
import torch

from lorary.assembly import load_model
from lorary.models import wrap_base
from lorary.routing import RetrievalConfig, configure_router
from lorary.routing.named import REQUEST_ROUTERS, list_options

GENERIC = (
    "Some text of no task.",
    "And another one, 1 2 3.",
    "x = y + z; print(x)",
    "... - 7",
    "WHY NOT?",
    "in 2031-11-12, for $8",
    "sort of (a plural)",
)
OPTIONS = {
    "retrieval": {},
    "retrieval, 2 of them": {"top_k": 2, "temperature": 0.1, "nearest": 2},
    "calibrated": {"generic": GENERIC, "top_k": 1, "margin": None},
    "calibrated, all of them": {"generic": GENERIC},
    "calibrated, 3 of them": {"generic": GENERIC, "top_k": 3},
    "logo": {},
    "logo, 2 of them": {"top_k": 2, "runs": "each"},
    "logo, by entropy": {"top_k": 3, "measure": "entropy", "runs": "alone"},
    "qa_flora": {},
    "qa_flora, 2 of them": {"top_k": 2},
    "card": {},
    "hilora": {},
    "hilora, half of each": {"top_k": 2, "share": 0.5},
    "calibrated, no last token": {"generic": GENERIC, "top_k": 1, "last_share": 0.0, "margin": None},
}
SELECTING = [case for case, options in OPTIONS.items() if case == "retrieval" or options.get("top_k") == 1]
PROMPTS = ["a", "plural of mouse", "Sort these: pear, fig", "2024-01-03 in words", "-. --- .--."]


def encode(model, texts):
    return [model.tokenizer(text)["input_ids"] for text in texts]


@pytest.fixture(params=OPTIONS)
def routed(request, ready):
    """The model under a router that decides per request."""
    ready.set_router(*configure(request.param))
    return ready


def configure(case):
    name = case.partition(",")[0]
    return name, configure_router(name, OPTIONS[case])


def pad(prompts, side):
    """Make a batch padded on one side, with its mask."""
    longest = max(map(len, prompts))
    rows = [[1] * (longest - len(ids)) for ids in prompts]
    mask = [[0] * len(row) for row in rows]
    if side == "left":
        ids = [[*row, *own] for row, own in zip(rows, prompts, strict=True)]
        mask = [[*row, *[1] * len(own)] for row, own in zip(mask, prompts, strict=True)]
    else:
        ids = [[*own, *row] for row, own in zip(rows, prompts, strict=True)]
        mask = [[*[1] * len(own), *row] for row, own in zip(mask, prompts, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


def test_all_request_routers_are_tested():
    assert {case.partition(",")[0] for case in OPTIONS} == set(REQUEST_ROUTERS)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_a_decision(routed, side):
    prompts = encode(routed, PROMPTS)
    indices, weights = routed.decider.decide(*pad(prompts, side))
    for row, prompt in enumerate(prompts):
        alone, alone_weights = routed.decider.decide(torch.tensor([prompt]))
        assert torch.equal(alone[0], indices[row])
        torch.testing.assert_close(alone_weights[0], weights[row], atol=1e-4, rtol=1e-4)


def test_left_padding_does_not_change_a_decision_where_positions_are_absolute(
    build_tiny_base, draw_expert, tiny_config
):
    from transformers import GPT2LMHeadModel

    torch.manual_seed(3)
    tokenizer = build_tiny_base().tokenizer
    base = wrap_base(GPT2LMHeadModel(tiny_config("gpt2", vocab_size=257)), tokenizer, name="tiny-gpt2")
    experts = {name: draw_expert(base, name) for name in ("dates", "morse", "plurals")}
    model = load_model(base, experts, router="calibrated", generic=GENERIC, top_k=3, temperature=0.01)
    prompts = encode(model, PROMPTS)
    indices, weights = model.decider.decide(*pad(prompts, "left"))
    for row, prompt in enumerate(prompts):
        alone, alone_weights = model.decider.decide(torch.tensor([prompt]))
        assert torch.equal(alone[0], indices[row])
        torch.testing.assert_close(alone_weights[0], weights[row], atol=1e-3, rtol=1e-3)


def test_decisions_repeat(routed):
    ids = torch.tensor(encode(routed, PROMPTS[1:2]))
    first, second = routed.decider.decide(ids), routed.decider.decide(ids)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


@pytest.mark.parametrize("case", SELECTING)
def test_an_answer_is_that_of_the_expert_that_was_chosen(ready, case):
    ready.set_router(*configure(case))
    indices, _ = ready.decider.decide(*pad(encode(ready, PROMPTS), "left"))
    chosen = [ready.names[int(index)] for index in indices[:, 0]]
    assert len(set(chosen)) > 1
    found = ready.generate(PROMPTS, max_new_tokens=8)
    with ready.assign(chosen):
        assert found == ready.generate(PROMPTS, max_new_tokens=8)
    assert any(found)


@pytest.mark.parametrize("case", SELECTING)
def test_logits_are_those_of_the_expert_that_was_chosen(ready, case):
    ready.set_router(*configure(case))
    input_ids, mask = pad(encode(ready, PROMPTS), "right")
    indices, _ = ready.decider.decide(input_ids, mask)
    with torch.no_grad():
        found = ready(input_ids=input_ids, attention_mask=mask).logits
        with ready.assign([ready.names[int(index)] for index in indices[:, 0]]):
            assert torch.equal(ready(input_ids=input_ids, attention_mask=mask).logits, found)


@pytest.mark.parametrize("combine", ["outputs", "factors"])
def test_several_experts_are_put_together_as_planned(ready, combine):
    name, config = configure("calibrated, 3 of them")
    input_ids = torch.tensor(encode(ready, PROMPTS[1:2]))
    with torch.no_grad():
        with ready.routed(name, config, combine):
            decision = ready.decider.decide(input_ids)
            found = ready(input_ids=input_ids).logits
        with ready.stack.planned(*decision, combine):
            torch.testing.assert_close(ready(input_ids=input_ids).logits, found)
        with ready.routed("uniform", combine=combine):
            assert not torch.allclose(ready(input_ids=input_ids).logits, found)


def test_prompts_of_a_batch_are_answered_as_alone(routed):
    alone = [routed.generate(prompt, max_new_tokens=5) for prompt in PROMPTS]
    assert routed.generate(PROMPTS, max_new_tokens=5) == alone


def test_a_decision_costs_one_reading_of_the_prompt_and_none_while_answering(routed, monkeypatch):
    if routed.routing[0] == "card":
        pytest.skip("it reads the cards, not the prompt alone")
    widths = []
    forward = type(routed.model).forward

    def count(self, **inputs):
        widths.append(inputs["input_ids"].shape[1])
        return forward(self, **inputs)

    routed.model.generation_config.eos_token_id = None
    routed.tokenizer.eos_token = None
    monkeypatch.setattr(type(routed.model), "forward", count)
    routed.generate("plural of mouse", max_new_tokens=4)
    assert widths == [15, 15, 1, 1, 1]


def test_an_assigned_expert_goes_before_a_decision(routed, input_ids):
    with torch.no_grad():
        with routed.assign(["prices", None]):
            found = routed(input_ids=input_ids).logits
        with routed.routed(None), routed.assign(["prices", None]):
            assert torch.equal(routed(input_ids=input_ids).logits, found)


def test_what_is_explained_is_the_decision_from_the_prompt(routed):
    prompt, answer = encode(routed, ["plural of mouse", " mice -.-"])
    indices, weights = routed.decider.decide(torch.tensor([prompt]))
    groups = weights[0] if weights.dim() == 3 else weights  # [G, K]
    expected = torch.zeros(5).index_add(0, indices[0], groups.mean(0))
    found = routed.explain([*prompt, *answer], num_prompt_tokens=len(prompt))
    assert "".join(found.tokens) == "plural of mouse mice -.-"
    assert found.layers == tuple(routed.stack.layers)
    assert found.weights.shape == (14, len(prompt) + len(answer), 5)
    each = found.weights.mean(0, keepdim=True) if len(groups) > 1 else found.weights
    torch.testing.assert_close(each, expected.expand_as(each))
    whole = routed.explain("plural of mouse")
    torch.testing.assert_close(whole.weights[:, 0], found.weights[:, 0])


def test_the_length_of_the_prompt_must_be_one_that_the_text_has(routed):
    for number in (0, 16):
        with pytest.raises(ValueError, match=f"from 1 to the text's 15 tokens, found {number}"):
            routed.explain("plural of mouse", num_prompt_tokens=number)


def test_another_router_holds_only_within_its_context(routed, input_ids):
    before = routed.decider
    with routed.routed("uniform"):
        assert routed.decider is None
        assert all(layer.router is not None for layer in routed.stack.layers.values())
    assert routed.decider is before
    assert all(layer.router is None for layer in routed.stack.layers.values())
    with routed.routed("calibrated", configure_router("calibrated", {"generic": GENERIC})):
        assert routed.decider is not before
    with pytest.raises(ValueError, match="the number of experts, 5, found 6"):
        routed.set_router("retrieval", RetrievalConfig(top_k=6))
    assert routed.decider is before


def test_the_last_experts_are_chosen_by_place_not_by_name(build_tiny_base, draw_expert, experts):
    """Permuting the experts permutes the decisions."""
    order = ["prices", "narrow", "dates", "plurals", "morse"]
    options = {"router": "calibrated", "generic": GENERIC, "top_k": 3, "temperature": 0.1}
    plain = load_model(build_tiny_base(), experts, **options)
    permuted = load_model(build_tiny_base(), {name: experts[name] for name in order}, **options)
    for prompt in PROMPTS:
        first, second = plain.explain(prompt).weights[0, 0], permuted.explain(prompt).weights[0, 0]
        for name in order:
            torch.testing.assert_close(first[plain.names.index(name)], second[order.index(name)])


def test_a_library_of_one_always_answers_with_it(base, experts, input_ids):
    model = load_model(base, {"morse": experts["morse"]}, router="calibrated", generic=GENERIC)
    with torch.no_grad():
        found = model(input_ids=input_ids).logits
        with model.assign(["morse", "morse"]):
            assert torch.equal(model(input_ids=input_ids).logits, found)


def test_an_abstaining_router_leaves_the_rest_to_the_base(ready, input_ids):
    for name in [name for name in REQUEST_ROUTERS if "abstain" in list_options(name)]:
        options = {"generic": GENERIC, "margin": None} if name == "calibrated" else {}
        with torch.no_grad():
            with ready.routed(None):
                bare = ready(input_ids=input_ids).logits
            with ready.routed(name, configure_router(name, {"abstain": 1e6, **options})):
                torch.testing.assert_close(ready(input_ids=input_ids).logits, bare)


def test_controls_are_never_decided_for(base, build_tiny_base, experts, draw_expert):
    control = {"random": draw_expert(base, "random", rank=6)}
    options = {"router": "calibrated", "generic": GENERIC, "top_k": 5}
    model = load_model(build_tiny_base(), experts, controls=control, **options)
    plain = load_model(build_tiny_base(), experts, **options)
    torch.testing.assert_close(model.explain(PROMPTS[1]).weights, plain.explain(PROMPTS[1]).weights)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"past_key_values": object()},
            "without past_key_values, found input_ids, past_key_values: run the ",
        ),
        ({"input_ids": None, "inputs_embeds": torch.ones(1, 2, 16)}, "found inputs_embeds: run"),
        (
            {"attention_mask": torch.ones(2, 1, 9, 9)},
            r"of the same shape \[B, L\], found \(2, 9\) and \(2, 1, 9",
        ),
        ({"attention_mask": torch.zeros(2, 9)}, "a prompt must have at least one token"),
    ],
)
def test_calls_that_do_not_show_the_prompt_are_refused(routed, input_ids, inputs, message):
    with pytest.raises(ValueError, match=message):
        routed(**{"input_ids": input_ids, **inputs})


def test_calibrated_routing_in_half_precision_is_that_in_single_up_to_rounding(build_tiny_base, experts):
    shares = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(build_tiny_base(dtype=dtype), experts, router="calibrated", generic=GENERIC)
        found = [model.explain(prompt).weights[0, 0] for prompt in PROMPTS[1:]]
        shares[dtype] = torch.stack(found)  # [P, E]
        model.detach()
    # A share moves by up to a quarter of what its score moves by, over the temperature of 0.15.
    torch.testing.assert_close(shares[torch.bfloat16], shares[torch.float32], rtol=0, atol=0.035)
