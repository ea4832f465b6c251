from dataclasses import replace

import pytest

from lorary.assembly import load_model
from lorary.assembly.deciding import RequestDecider
from lorary.data import find_template
from lorary.evaluation import EvalConfig, Route, evaluate, responding
from lorary.evaluation.response_store import ResponseStore
from lorary.routing import CalibratedConfig

GENERIC = ("Some text.", "Another one, 1 2 3.")
ROUTES = [
    Route(name="base"),
    Route(name="oracle", expert_of={"dates": "dates", "morse": "morse"}),
    Route(name="arrow", router="arrow"),
    Route(name="calibrated", router="calibrated", options=CalibratedConfig(generic=GENERIC)),
]
CONFIG = EvalConfig(metrics=("loss", "exact_match"), num_examples=3, tokens_per_pass=60, batch_size=2)


@pytest.fixture
def counted(monkeypatch):
    """Counts items and prompts that the model really ran."""
    counts = {"scored": 0, "answered": 0, "decided": 0}

    def count(name, function):
        def run(*args, **told):
            counts[name] += len(args[2 if name == "answered" else 1])
            return function(*args, **told)

        return run

    monkeypatch.setattr(responding, "score_targets", count("scored", responding.score_targets))
    monkeypatch.setattr(responding, "generate_answers", count("answered", responding.generate_answers))
    decide = RequestDecider.decide_packed

    def decide_packed(self, requests):
        counts["decided"] += requests.count
        return decide(self, requests)

    monkeypatch.setattr(RequestDecider, "decide_packed", decide_packed)
    return counts


def run(model, tasks, path, routes=ROUTES, **told):
    with ResponseStore(path) as store:
        return evaluate(model, tasks, routes, find_template("plain"), CONFIG, store=store, **told)


def test_a_second_run_runs_nothing_and_gives_the_same(model, tasks, tmp_path, counted):
    alone = evaluate(model, tasks, ROUTES, find_template("plain"), CONFIG)
    first = run(model, tasks, tmp_path / "r.jsonl")
    before = dict(counted)
    assert all(before.values())
    seen, events = [], []
    second = run(model, tasks, tmp_path / "r.jsonl", on_prediction=seen.append, on_progress=events.append)
    assert counted == before
    assert first.scores == second.scores == alone.scores
    assert first.attachments == second.attachments
    assert events[-1].num_done == events[-1].num_total
    assert len(seen) == 4 * 2 * 6
    base = [each for each in seen if each.route == "base" and "loss" in each.values]
    assert {each.values["loss"] for each in base} == {
        value
        for (_, route, metric), own in first.scores.items()
        if (route, metric) == ("base", "loss")
        for value in own
    }


def test_a_killed_run_loses_at_most_a_batch(model, tasks, tmp_path, counted, monkeypatch):
    add, left = ResponseStore.add, [3]

    def die(self, responses):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        add(self, responses)

    monkeypatch.setattr(ResponseStore, "add", die)
    with pytest.raises(KeyboardInterrupt):
        run(model, tasks, tmp_path / "r.jsonl", ROUTES[:1])
    monkeypatch.setattr(ResponseStore, "add", add)
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    counted.update(dict.fromkeys(counted, 0))
    run(model, tasks, tmp_path / "r.jsonl", ROUTES[:1])
    again = counted["scored"] + counted["answered"]
    counted.update(dict.fromkeys(counted, 0))
    evaluate(model, tasks, ROUTES[:1], find_template("plain"), CONFIG)
    assert len(lines) > 1
    assert again == counted["scored"] + counted["answered"] - (len(lines) - 1)


def test_answers_are_found_by_content_whatever_names_and_other_experts(
    model, tasks, tmp_path, counted, build_tiny_base, draw_expert
):
    run(model, tasks, tmp_path / "r.jsonl", ROUTES[:2])
    counted.update(dict.fromkeys(counted, 0))
    base = build_tiny_base()
    renamed = {
        "a": draw_expert(base, "dates"),
        "b": draw_expert(base, "morse"),
        "c": draw_expert(base, "new"),
    }
    other = load_model(base, {name: each.rename(name) for name, each in renamed.items()}, router=None)
    oracle = replace(ROUTES[1], expert_of={"dates": "a", "morse": "b"})
    run(other, tasks, tmp_path / "r.jsonl", [ROUTES[0], oracle])
    assert not any(counted.values())
    swapped = replace(oracle, expert_of={"dates": "c", "morse": "b"})
    run(other, tasks, tmp_path / "r.jsonl", [swapped, ROUTES[2]])
    assert counted["scored"] > 0 and counted["answered"] > 0


def test_answers_with_other_ending_tokens_are_computed_anew(model, tasks, tmp_path, counted):
    """Stored answers were taken although `generation_config.json` had another end of text."""
    run(model, tasks, tmp_path / "r.jsonl", ROUTES[:1])
    counted.update(dict.fromkeys(counted, 0))
    model.base.model.generation_config.eos_token_id = list(range(0, 200, 2))
    found = run(model, tasks, tmp_path / "r.jsonl", ROUTES[:1])
    assert counted["answered"] > 0 and counted["scored"] == 0
    assert found.scores == evaluate(model, tasks, ROUTES[:1], find_template("plain"), CONFIG).scores


def test_the_experts_that_a_router_chose_are_in_the_result(model, tasks, tmp_path):
    found = run(model, tasks, tmp_path / "r.jsonl", ROUTES[3:])
    shares = found.attachments["routing"]["calibrated"]
    assert set(shares) == {"dates", "morse"}
    assert all(sum(own.values()) > 0 for own in shares.values())
    settings = found.headers[0]["settings"]
    assert settings["fingerprint"] == model.base.fingerprint
    assert set(settings["experts"]) == set(model.stack.names)
    assert all(len(digest) == 64 for digest in settings["data"].values())
