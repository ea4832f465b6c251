"""Evaluation of a model with an encoder and a decoder, against a naive loop over examples."""

import pytest
import torch
from torch.nn import functional as F

from lorary.assembly import load_model
from lorary.data import Example, Task, find_template
from lorary.evaluation import EvalConfig, evaluate, make_routes
from lorary.evaluation.routing_survey import survey_routing
from lorary.models import fold
from tests.encoder_decoders import build_base, build_model

METRICS = ("loss", "exact_match", "rouge_l", "accuracy_sum")
CHOICES = ("blue", "red", "green")
TASKS = {
    "colours": Task(
        "colours",
        {"test": (Example("sky", ("blue",), CHOICES), Example("a rose", ("red",), CHOICES))},
        "Name the colour.",
    ),
    "words": Task("words", {"test": (Example("one two", ("two",)), Example("x", ("y z",)))}),
}
CONFIG = EvalConfig(metrics=METRICS, tokens_per_pass=90, max_new_tokens=4)
TEMPLATE = find_template("plain")


@pytest.fixture(params=["t5", "bart"])
def material(request, draw_expert):
    base = build_base(request.param)
    experts = {name: draw_expert(base, name, task_type="SEQ_2_SEQ_LM") for name in TASKS}
    return request.param, base, experts


def test_numbers_are_those_of_a_naive_loop(material):
    kind, base, experts = material
    model = load_model(base, experts)
    names = ["base", "oracle", "arrow", "uniform"]
    result = evaluate(
        model, TASKS, make_routes(names, model, {name: name for name in TASKS}), TEMPLATE, CONFIG
    )
    plain = build_model(kind)
    for route, models in (
        ("base", dict.fromkeys(TASKS, plain)),
        ("oracle", {name: fold(plain, expert) for name, expert in experts.items()}),
    ):
        for name, task in TASKS.items():
            losses, matches, accuracies = zip(
                *(measure(models[name], base.tokenizer, task, each) for each in task.splits["test"]),
                strict=True,
            )
            found = result.scores[name, route, "loss"]
            assert sorted(found) == pytest.approx(sorted(losses), abs=1e-4)
            assert sorted(result.scores[name, route, "exact_match"]) == sorted(matches)
            if name == "colours":
                assert sorted(result.scores[name, route, "accuracy_sum"]) == sorted(accuracies)
    assert len(result.scores["words", "arrow", "rouge_l"]) == 2


@torch.no_grad()
def measure(model, tokenizer, task, example):
    """One example: mean loss of its target, whether its answer is exact, and whether its choice is right."""
    prompt = torch.tensor([tokenizer(TEMPLATE.render(task, example))["input_ids"]])

    def score(text, has_end):
        labels = torch.tensor([tokenizer(text_target=text)["input_ids"]])
        labels = labels if has_end else labels[:, :-1]
        return F.cross_entropy(model(input_ids=prompt, labels=labels).logits[0], labels[0], reduction="none")

    answer = model.generate(input_ids=prompt, max_new_tokens=CONFIG.max_new_tokens, do_sample=False)[0]
    text = tokenizer.decode(answer, skip_special_tokens=True).strip().partition("\n")[0]
    is_right = 0.0
    if example.choices:
        totals = [float(score(choice, False).sum()) for choice in example.choices]
        is_right = float(example.choices[totals.index(min(totals))] == example.targets[0])
    return float(score(example.targets[0], True).mean()), float(text == example.targets[0]), is_right


def test_routers_per_request_choose_once_for_each_prompt(material):
    _, base, experts = material
    model = load_model(
        base, experts, generic=["Once upon a time", "2 + 2", "A house by the sea", "Who is it?"]
    )
    options = {"calibrated": model.routing[1]}
    routes = make_routes(["base", "calibrated"], model, {}, options=options)
    found = evaluate(model, TASKS, routes, TEMPLATE, EvalConfig(metrics=("loss",), tokens_per_pass=60))
    other = evaluate(model, TASKS, routes, TEMPLATE, EvalConfig(metrics=("loss",)))
    for key, values in found.scores.items():
        assert values == pytest.approx(other.scores[key], abs=1e-4)
    assert found.scores["words", "calibrated", "loss"] != found.scores["words", "base", "loss"]


def test_a_survey_shows_the_routing_of_prompts_in_the_encoder(material):
    _, base, experts = material
    survey = survey_routing(load_model(base, experts), TASKS, TEMPLATE, CONFIG)
    assert survey.usage_by_task.keys() == TASKS.keys()
    for shares in survey.usage_by_task.values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
