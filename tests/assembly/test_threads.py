"""Every public call of a routed model in several threads at once: each gives what it gives alone."""

import threading
from dataclasses import replace

import pytest
import torch
from transformers import CompileConfig

from lorary.assembly import RoutedModel, load_model, save_model
from lorary.experts.skills import make_skill_set
from lorary.facts import FACTS, find_task_facts
from lorary.routing import ArrowConfig, configure_router
from tests.assembly.thread_calls import CALLS, NUM_THREADS, TASKS, is_same, read, read_assigned, run_at_once
from tests.facts.texts import take_for_examples


@pytest.fixture
def build(build_tiny_base, experts, draw_expert):
    """Build models that are alike, with a control, and an expert at hand that is not on them."""

    def build_model(router="calibrated"):
        base = build_tiny_base()
        controls = {"random": draw_expert(base, "random")}
        skills = make_skills([experts["dates"], experts["morse"]], base.model.config.hidden_size)
        model = load_model(base, experts, router=router, controls=controls, skills=skills)
        model.late = draw_expert(base, "late", rank=6)
        return model

    return build_model


def make_skills(experts, width):
    made = make_skill_set(experts, num_splits=2)
    torch.manual_seed(3)
    logits = {group: torch.randn(3, 4) for group in made.table.logits}
    embeddings = torch.randn(3, width)
    return replace(made, table=replace(made.table, tasks=TASKS, logits=logits, embeddings=embeddings))


def test_every_public_call_has_a_row():
    public = {name for name in dir(RoutedModel) if not name.startswith("_")} | {"__call__"}
    assert CALLS.keys() == public


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_in_many_threads_what_it_gives_alone(build, name):
    """Guards a bug: threads got each other's experts, and one's plan was left behind for all."""
    call, alone, model = CALLS[name], build(), build()
    expected = [call(alone, number) for number in range(NUM_THREADS)[::-1]][::-1]
    found = run_at_once(lambda number: call(model, number))
    for known, answers in zip(expected, found, strict=True):
        assert all(is_same(answer, known) for answer in answers if answer is not None)
    assert model.stack.context.active is model.stack.context.default
    if name not in ("set_router", "detach", "half", "bfloat16"):
        assert is_same(read(model, 1), read(build(), 1))


@pytest.mark.parametrize("router", ["spectr", "lag", "fixed"])
def test_other_routers_hold_in_their_thread_alone(build, router):
    model = build("arrow")
    config = configure_router(router, {"weights": {"dates": 1.0}} if router == "fixed" else {})

    def answer(number):
        if number == 0:
            return read(model, 1)
        with model.routed(router, config):
            return read(model, number)

    expected = [answer(number) for number in range(NUM_THREADS)]
    for known, answers in zip(expected, run_at_once(answer), strict=True):
        assert all(torch.equal(each, known) for each in answers)


def test_what_is_known_of_experts_is_found_once_however_many_ask_first(build, monkeypatch):
    counts = {"prototypes": 0, "calibrations": 0}

    def counting(kind, do):
        def count(*given, **named):
            counts[kind] += 1
            return do(*given, **named)

        return count

    model = build(None)
    for kind in counts:
        fact = FACTS[kind]
        monkeypatch.setitem(FACTS, kind, replace(fact, compute=counting(kind, fact.compute)))

    def answer(number):
        answers = []
        for router in ("arrow", "calibrated"):
            with model.routed(router):
                answers.append(read(model, number))
        return answers

    found = run_at_once(answer, rounds=2)
    assert counts == {"prototypes": 1, "calibrations": 1}
    assert all(is_same(first, second) for first, second in found)


def test_means_and_embeddings_are_found_while_others_ask(build, sequences):
    model = build("arrow")

    def answer(number):
        if number == 0:
            found = find_task_facts(model, {}, take_for_examples(sequences), ["embeddings"])
            return [found["embeddings"][name] for name in model.names]
        return read_assigned(model, number)

    expected = [answer(number) for number in range(NUM_THREADS)]
    for known, answers in zip(expected, run_at_once(answer), strict=True):
        assert all(is_same(each, known) for each in answers)


def test_a_model_is_saved_while_others_ask(build, tmp_path):
    model, saved = build("arrow"), iter(range(100))

    def answer(number):
        if number == 0:
            save_model(model, tmp_path / str(next(saved)), with_base=True)
            return None
        return read_assigned(model, number)

    expected = [read_assigned(model, number) for number in range(NUM_THREADS)]
    for known, answers in zip(expected[1:], run_at_once(answer, rounds=3)[1:], strict=True):
        assert all(torch.equal(each, known) for each in answers)


def test_answers_by_compiled_steps_come_one_thread_at_a_time(build):
    torch._dynamo.reset()
    config = CompileConfig(backend="eager", mode=None)
    model = build("arrow")

    def answer(number):
        with model.routed("arrow", ArrowConfig(top_k=number + 1)):
            return model.generate([[5, 9, 14, number]], max_new_tokens=4, compile=config)

    expected = [model_alone(model, number) for number in range(NUM_THREADS)]
    for known, answers in zip(expected, run_at_once(answer, rounds=2), strict=True):
        assert answers == [known] * 2
    torch._dynamo.reset()


def model_alone(model, number):
    with model.routed("arrow", ArrowConfig(top_k=number + 1)):
        return model.generate([[5, 9, 14, number]], max_new_tokens=4)


def test_a_thread_that_ends_within_a_context_leaves_nothing_behind(build):
    model = build("arrow")
    expected = read(model, 1)
    left_open = [model.routed("uniform"), model.assign(["dates"])]
    thread = threading.Thread(target=lambda: [context.__enter__() for context in left_open])
    thread.start()
    thread.join()
    assert torch.equal(read(model, 1), expected)
    model.set_router("uniform")
    model.remove_expert("dates")
    with model.assign(["morse"]):
        before = read(model, 1)
        for context in reversed(left_open):
            context.__exit__(None, None, None)
        assert torch.equal(read(model, 1), before)


CHANGES = {
    "set a router": lambda model: model.set_router("uniform"),
    "add an expert": lambda model: model.add_expert(model.late),
    "remove an expert": lambda model: model.remove_expert("dates"),
    "detach the experts": lambda model: model.detach(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_within_a_context_nothing_is_changed_for_all(build, what):
    model = build("arrow")
    for context in (lambda: model.routed("uniform"), lambda: model.assign(["dates"])):
        with context(), pytest.raises(ValueError, match=f"leave the contexts .* before you {what}"):
            CHANGES[what](model)
    assert model.routing[0] == "arrow"
    CHANGES[what](model)
