from dataclasses import replace

import pytest
import torch

from lorary.assembly import RoutedModel
from lorary.assembly.deciding import RequestDecider
from lorary.data import Example, Task, find_template, tokenize_examples
from lorary.data.tokens import tokenize_answers
from lorary.errors import DataError
from lorary.evaluation import EvalConfig, Route, evaluate, make_routes
from lorary.evaluation.chosen_examples import identify_examples
from lorary.evaluation.measures.exact_match import exact_match
from lorary.evaluation.measures.table import MEASURES
from lorary.evaluation.request_pool import gather_requests
from lorary.facts import find_task_facts
from lorary.routing import (
    CalibratedConfig,
    CardConfig,
    HiloraConfig,
    LogoConfig,
    QaFloraConfig,
    RetrievalConfig,
)
from lorary.routing.named import REQUEST_ROUTERS
from tests.facts.texts import take_for_examples

PLAIN = find_template("plain")
OWN = {"dates": "dates", "morse": "morse"}
NAMES = ["base", "random", "uniform", "arrow", "oracle"]


@torch.no_grad()
def sum_as_it_is(model, prompt, target):
    """Sum the losses of one sequence, whoever decides on the model."""
    inputs = {
        "input_ids": torch.tensor([[*prompt, *target]]),
        "labels": torch.tensor([[*[-100] * len(prompt), *target]]),
    }
    return float(model(**inputs).loss) * len(target)


def answered(model, route, task):
    """Within this context one sequence of a task is answered as the route says."""
    if route.expert_of is not None:
        return model.assign([route.expert_of[task]])
    return model.routed(route.router, route.options, route.combine)


def sum_losses(model, route, task, prompt, target):
    with answered(model, route, task):
        return sum_as_it_is(model, prompt, target)


def test_losses_are_those_of_transformers_for_each_example(model, tasks):
    routes = make_routes(NAMES, model, OWN)
    result = evaluate(model, tasks, routes, PLAIN)
    assert set(result.routes) == set(NAMES)
    for name, task in tasks.items():
        tokens = tokenize_examples(model.tokenizer, PLAIN, task, task.split("test"), max_length=512).examples
        for route in routes:
            expected = [
                sum_losses(model, route, name, found.prompt_ids, found.target_ids) / len(found.target_ids)
                for found in tokens
            ]
            assert result.values(name, route.name, "loss") == pytest.approx(expected, rel=1e-4)


def test_choices_are_made_by_brute_force(model, tasks):
    config = EvalConfig(metrics=("accuracy_sum", "accuracy_per_token", "accuracy_per_byte"))
    (route,) = make_routes(["oracle"], model, OWN)
    result = evaluate(model, tasks, [route], PLAIN, config)
    with_choices = [example for example in tasks["morse"].split("test") if example.choices]
    for metric, normalise in {
        "accuracy_sum": lambda option, text: 1,
        "accuracy_per_token": lambda option, text: len(option.target_ids),
        "accuracy_per_byte": lambda option, text: len(text.encode()),
    }.items():
        expected = []
        for example in with_choices:
            options = tokenize_answers(
                model.tokenizer, PLAIN, tasks["morse"], example, example.choices, max_length=512
            )
            losses = [
                sum_losses(model, route, "morse", option.prompt_ids, option.target_ids)
                / normalise(option, text)
                for option, text in zip(options, example.choices, strict=True)
            ]
            expected.append(float(example.choices[losses.index(min(losses))] == example.targets[0]))
        assert result.values("morse", "oracle", metric) == tuple(expected)
    assert result.tasks == ("morse",)


def test_answers_are_matched_by_their_first_line(model, monkeypatch, tasks):
    answers = {"3": " 2024-01-3\nday 4", "14": "2024-01-14.", "25": "no", "26": "", "27": "\n2024-01-27"}

    def answer(self, prompts, *, max_new_tokens, **given):
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        assert all(text.startswith("Write the date.\n\nday ") for text in texts)
        return [answers[text.split("day ")[1].split("\n")[0]] for text in texts]

    monkeypatch.setattr(RoutedModel, "generate", answer)
    config = EvalConfig(metrics=("exact_match", "rouge_l"), batch_size=2)
    result = evaluate(model, {"dates": tasks["dates"]}, [Route(name="base")], PLAIN, config)
    assert result.values("dates", "base", "exact_match") == (1.0, 1.0, 0.0, 0.0, 1.0)
    assert result.values("dates", "base", "rouge_l") == (1.0, 1.0, 0.0, 0.0, 1.0)


def test_a_task_with_answers_of_several_lines_is_matched_whole(model, monkeypatch):
    task = Task("lists", {"test": (Example("a list", ("one\ntwo",)), Example("another", ("one",)))})
    monkeypatch.setattr(RoutedModel, "generate", lambda self, prompts, **given: ["one\ntwo"] * len(prompts))
    result = evaluate(
        model, {"lists": task}, [Route(name="base")], PLAIN, EvalConfig(metrics=("exact_match",))
    )
    assert result.values("lists", "base", "exact_match") == (1.0, 0.0)


@pytest.mark.parametrize("name", ["arrow", "oracle"])
def test_exact_match_is_that_of_prompts_answered_alone(model, tasks, name):
    routes = make_routes([name], model, OWN)
    found = []
    for example in tasks["dates"].split("test"):
        prompt = PLAIN.render(tasks["dates"], example)
        with answered(model, routes[0], "dates"):
            found.append(model.generate([prompt], max_new_tokens=2)[0].strip().partition("\n")[0])
    assert any(answer.strip() for answer in found)
    # Half of the examples are asked for what the model says, the others for something else.
    examples = tuple(
        Example(example.input, (answer if index % 2 == 0 and answer.strip() else "else",))
        for index, (example, answer) in enumerate(zip(tasks["dates"].split("test"), found, strict=True))
    )
    task = Task("dates", {"test": examples}, definition=tasks["dates"].definition)
    config = EvalConfig(metrics=("exact_match",), max_new_tokens=2)
    values = evaluate(model, {"dates": task}, routes, PLAIN, config).values("dates", name, "exact_match")
    assert values == tuple(exact_match(a, e.targets) for a, e in zip(found, examples, strict=True))
    assert 0 < sum(values) < len(values)


def test_a_measure_with_several_metrics_needs_nothing_but_its_line(model, tasks, code_measure, monkeypatch):
    answers = {"3": "x = (1\n+ 2)", "14": "x = (", "25": "x", "26": "", "27": "}"}
    limits = []

    def answer(self, prompts, *, max_new_tokens, **given):
        limits.extend(max_new_tokens)
        return [answers[self.tokenizer.decode(prompt).split("day ")[1].split("\n")[0]] for prompt in prompts]

    monkeypatch.setattr(RoutedModel, "generate", answer)
    config = EvalConfig(metrics=("size", "pass@1", "loss"))
    result = evaluate(model, {"dates": tasks["dates"]}, [Route(name="base")], PLAIN, config)
    assert result.metrics == ("size", "pass@1", "loss")
    assert result.values("dates", "base", "pass@1") == (1.0, 0.0, 1.0, 1.0, 0.0)
    assert result.values("dates", "base", "size") == (11.0, 5.0, 1.0, 0.0, 1.0)
    assert (result.metric_of["size"].lower_is_better, result.metric_of["pass@1"].lower_is_better) == (
        True,
        False,
    )
    assert set(limits) == {5}


def test_a_measure_that_breaks_its_promise_is_refused(model, tasks, code_measure, monkeypatch):
    monkeypatch.setattr(type(MEASURES["code"]), "grade", lambda self, example, responses: {"size": 1.0})
    config = EvalConfig(metrics=("size",))
    with pytest.raises(
        ValueError, match=r"RunsCode must return the metrics \['pass@1', 'size'\], found \['size'\]"
    ):
        evaluate(model, {"dates": tasks["dates"]}, [Route(name="base")], PLAIN, config)


def test_examples_have_the_same_ids_under_all_routes_and_metrics(model, tasks):
    config = EvalConfig(metrics=("loss", "accuracy_sum"))
    result = evaluate(model, tasks, make_routes(["base", "uniform"], model, OWN), PLAIN, config)
    ids = identify_examples(tasks["morse"].split("test"))
    assert result.example_ids["morse", "loss"] == tuple(ids)
    assert result.example_ids["morse", "accuracy_sum"] == tuple(ids[:4])


def test_sizes_of_passes_and_batches_change_nothing(model, tasks):
    routes = make_routes(["arrow", "oracle"], model, OWN)
    metrics = ("loss", "exact_match", "accuracy_sum")
    large = evaluate(model, tasks, routes, PLAIN, EvalConfig(metrics=metrics, max_new_tokens=3))
    small = EvalConfig(metrics=metrics, max_new_tokens=3, tokens_per_pass=50, batch_size=1)
    found = evaluate(model, tasks, routes, PLAIN, small)
    for key, values in large.scores.items():
        assert found.scores[key] == pytest.approx(values, rel=1e-4)


def test_every_route_sees_the_same_examples_and_their_number_is_bounded(model, tasks):
    config = EvalConfig(num_examples=2, seed=4)
    one = evaluate(model, tasks, make_routes(["base"], model, OWN), PLAIN, config)
    two = evaluate(model, tasks, make_routes(["uniform", "base"], model, OWN), PLAIN, config)
    assert len(one.values("dates", "base", "loss")) == 2
    assert two.values("morse", "base", "loss") == pytest.approx(one.values("morse", "base", "loss"))


def test_progress_ends_at_its_total(model, tasks):
    news = []
    config = EvalConfig(metrics=("loss", "exact_match", "accuracy_sum"), max_new_tokens=2, batch_size=3)
    evaluate(
        model, tasks, make_routes(["base", "uniform"], model, OWN), PLAIN, config, on_progress=news.append
    )
    done = [event.num_done for event in news]
    assert done == sorted(done)
    assert len({event.num_total for event in news}) == 1
    assert done[-1] == news[-1].num_total
    assert [event.route for event in news][:: len(news) - 1] == ["base", "uniform"]


@pytest.fixture
def request_routes(model):
    """A route for each router that decides per request, several experts at a time."""
    prompts = {"dates": ["day 3"], "morse": ["letter a", "what is"], "plurals": ["plural of goose"]}
    sequences = {name: [model.tokenizer(text)["input_ids"] for text in own] for name, own in prompts.items()}
    facts = ["embeddings", "components"]
    model.provide(find_task_facts(model, {}, take_for_examples(sequences), facts))
    options = {
        "calibrated": CalibratedConfig(top_k=2, temperature=0.1, generic=("Some text.", "1 2 3 4 5 6")),
        "retrieval": RetrievalConfig(top_k=2, temperature=0.1),
        "logo": LogoConfig(top_k=2),
        "qa_flora": QaFloraConfig(),
        "card": CardConfig(top_k=2),
        "hilora": HiloraConfig(top_k=2),
    }
    assert options.keys() == REQUEST_ROUTERS.keys()
    routes = make_routes(list(options), model, OWN, options=options, combine="factors")
    # Components have no factors to combine.
    return [replace(route, combine="outputs") if route.name == "hilora" else route for route in routes]


def test_a_request_is_decided_from_its_prompt_alone(model, tasks, request_routes):
    metrics = ("loss", "accuracy_sum", "exact_match")
    config = EvalConfig(metrics=metrics, max_new_tokens=3)
    result = evaluate(model, tasks, request_routes, PLAIN, config)
    for route in request_routes:
        for name, task in tasks.items():
            examples = task.split("test")
            tokens = tokenize_examples(model.tokenizer, PLAIN, task, examples, max_length=512).examples
            losses, choices, matches = [], [], []
            for example, found in zip(examples, tokens, strict=True):
                with answered(model, route, name):
                    decision = model.decider.decide(torch.tensor([found.prompt_ids]))
                    chooser = model.decider.make_chooser(*decision, route.combine)

                def score(target, prompt=found.prompt_ids, chooser=chooser):
                    with model.stack.choosing(chooser):
                        return sum_as_it_is(model, prompt, target)

                losses.append(score(found.target_ids) / len(found.target_ids))
                with answered(model, route, name):
                    answer = model.generate([found.prompt_ids], max_new_tokens=3)[0].strip()
                matches.append(exact_match(answer.partition("\n")[0], example.targets))
                if example.choices:
                    options = tokenize_answers(
                        model.tokenizer, PLAIN, task, example, example.choices, max_length=512
                    )
                    sums = [score(option.target_ids) for option in options]
                    choices.append(float(example.choices[sums.index(min(sums))] == example.targets[0]))
            assert result.values(name, route.name, "loss") == pytest.approx(losses, rel=1e-4)
            assert result.values(name, route.name, "exact_match") == tuple(matches)
            if choices:
                assert result.values(name, route.name, "accuracy_sum") == tuple(choices)


def test_each_prompt_is_read_once_for_its_decision(model, tasks, request_routes, monkeypatch):
    read = []
    decide = RequestDecider.decide_packed

    def count(self, requests):
        read.extend(map(tuple, requests.token_ids()))
        return decide(self, requests)

    monkeypatch.setattr(RequestDecider, "decide_packed", count)
    config = EvalConfig(metrics=("loss", "accuracy_sum", "exact_match"), max_new_tokens=2)
    evaluate(model, tasks, request_routes[:1], PLAIN, config)
    pool = gather_requests(model.tokenizer, tasks, PLAIN, config)
    assert sorted(read) == sorted(set(pool.prompts))
    assert len(pool.prompts) > 2 * len(read)


def test_the_models_own_router_is_put_back(model, tasks):
    model.set_router("uniform")
    before = [layer.router for layer in model.stack.layers.values()]
    evaluate(model, tasks, make_routes(["arrow", "base"], model, OWN), PLAIN)
    assert [layer.router for layer in model.stack.layers.values()] == before


def test_the_header_says_what_was_measured_and_what_was_left_out(model, tasks):
    config = EvalConfig(max_length=40)
    result = evaluate(model, {"morse": tasks["morse"]}, make_routes(["arrow"], model, OWN), PLAIN, config)
    settings = result.headers[0]["settings"]
    assert settings["examples"] == {"morse": len(result.values("morse", "arrow", "loss"))}
    assert settings["routes"][0]["combine"] == "outputs"
    assert (settings["dtype"], settings["quantization"], settings["device"]) == ("float32", None, "cpu")
    # "Write the date.", "day 3", "Answer:", the date and its end are 41 bytes; later days have two more.
    short = EvalConfig(max_length=42)
    result = evaluate(model, {"dates": tasks["dates"]}, [Route(name="base")], PLAIN, short)
    assert result.headers[0]["settings"]["prompts"]["dates"]["num_skipped"] == 4


def test_what_cannot_be_measured_is_refused(model, tasks):
    base = [Route(name="base")]
    with pytest.raises(DataError, match="task 'morse' has no 'validation' examples"):
        evaluate(model, tasks, base, PLAIN, EvalConfig(split="validation"))
    with pytest.raises(
        DataError, match="task 'dates' must have a 'test' example of at most 9 tokens, none of 5 fits"
    ):
        evaluate(model, tasks, base, PLAIN, EvalConfig(max_length=9))
    with pytest.raises(ValueError, match="accuracies need examples with choices"):
        evaluate(model, {"dates": tasks["dates"]}, base, PLAIN, EvalConfig(metrics=("accuracy_sum",)))
    with pytest.raises(ValueError, match="must have different names, found 'base' twice"):
        evaluate(model, tasks, base * 2, PLAIN)
    with pytest.raises(ValueError, match="needs a task and a route, found 2 and 0"):
        evaluate(model, tasks, [], PLAIN)
    with pytest.raises(ValueError, match="needs a task and a route, found 0 and 1"):
        evaluate(model, {}, base, PLAIN)
