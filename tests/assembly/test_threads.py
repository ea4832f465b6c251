"""Every public call of a routed model in several threads at once: each gives what it gives alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from transformers import CompileConfig

from lorary.assembly import RoutedModel, load_model, save_model
from lorary.facts import FACTS, find_task_facts
from lorary.routing import ArrowConfig, configure_router
from tests.facts.texts import take_for_examples

NUM_THREADS = 3
ROUNDS = 6
PROMPTS = ["morse: ...", "2024-02", "price"]
ROUTERS = ["arrow", "uniform", "calibrated"]
NAMES = ["dates", "morse", "prices"]


def read(model, number, **inputs):
    ids = torch.tensor([[number + 5, 9, number + 30, 7]])
    with torch.no_grad():
        return model(input_ids=ids, **inputs).logits


def read_routed(model, number):
    with model.routed(ROUTERS[number], combine=["outputs", "factors"][number % 2]):
        kept = model.routing[0], model.decider is not None
        return [read(model, number), kept, model.generate(PROMPTS[number], max_new_tokens=3)]


def read_assigned(model, number):
    with model.assign([NAMES[number]]):
        return read(model, number)


def read_passed(model, number):
    """One call has several choosers, and each thread others."""
    mine = [NAMES[number], {NAMES[number]: 0.5, "morse": 0.25}, model.router(ROUTERS[number]), None]
    answers = model.generate([PROMPTS[number]] * 4, experts=mine, max_new_tokens=3)
    return [answers, *(read(model, number, experts=choice) for choice in mine)]


def read_nested(model, number):
    with model.routed(ROUTERS[number]):
        outer = read(model, number)
        inner = read_assigned(model, number)
        return [outer, inner, torch.equal(outer, read(model, number))]


def provide(model, number):
    width = {path: layer.a.shape[2] for path, layer in model.stack.layers.items()}
    chance = torch.Generator().manual_seed(3)
    means = {path: torch.randn(len(model.names), size, generator=chance) for path, size in width.items()}
    model.provide(means=means)
    with model.routed("mean_activation"):
        return read(model, number)


def set_router(model, number):
    """One sets routers; what the others are answered comes from one of them, at all layers."""
    if number == 0:
        for router in ROUTERS:
            model.set_router(router)
        return None
    routed = []
    for router in ROUTERS:
        with model.routed(router):
            routed.append(read(model, number))
    found = read(model, number)
    return any(torch.equal(found, each) for each in routed)


def grow(model, number):
    """One adds an expert and removes it; the others are answered by all experts, or by all but that one."""
    if number == 0:
        name = "late"
        model.add_expert(model.late)
        assert name in model.names
        model.remove_expert(name)
        return None
    with model.routed("uniform"):
        few, whole = len(model.names), read(model, number)
        assert len(model.explain(PROMPTS[0]).experts) == few
    assert torch.isfinite(whole).all()
    return [read_assigned(model, number), model.controls]


def detach(model, number):
    """One takes the experts off while the others are answered by theirs."""
    if number == 0:
        model.detach()
        return None
    try:
        return read_assigned(model, number)
    except ValueError:  # they were detached
        return None


def explain(model, number):
    with model.routed(ROUTERS[number]):
        return [model.explain(PROMPTS[number]).weights, model.explain(PROMPTS[0], 2).weights]


# Public name -> what a thread of this number asks of the model with it.
CALLS = {
    "__call__": read,
    "add_expert": grow,
    "assign": read_assigned,
    "controls": lambda model, number: model.controls,
    "decider": read_routed,
    "detach": detach,
    "explain": explain,
    "generate": lambda model, number: model.generate(PROMPTS[number:], max_new_tokens=4),
    "model": lambda model, number: type(model.model),
    "names": lambda model, number: model.names,
    "provide": provide,
    "remove_expert": grow,
    "routed": read_nested,
    "router": read_passed,
    "routing": read_routed,
    "set_router": set_router,
    "stack": lambda model, number: [read_assigned(model, number), model.stack.names],
    "tokenizer": lambda model, number: model.tokenizer(PROMPTS[number])["input_ids"],
}


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def run_at_once(do, rounds=ROUNDS):
    """Call ``do(number)`` in several threads at once, many times; the answers of each thread."""
    start = threading.Barrier(NUM_THREADS)

    def repeat(number):
        answers = []
        for _ in range(rounds):
            start.wait(60)
            try:
                answers.append(do(number))
            except BaseException as error:
                answers.append(error)
        return answers

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(repeat, range(NUM_THREADS)))


@pytest.fixture
def build(build_tiny_base, experts, draw_expert):
    """Build models that are alike, with a control, and an expert at hand that is not on them."""

    def build_model(router="calibrated"):
        base = build_tiny_base()
        controls = {"random": draw_expert(base, "random")}
        model = load_model(base, experts, router=router, controls=controls)
        model.late = draw_expert(base, "late", rank=6)
        return model

    return build_model


def test_every_public_call_has_a_row():
    public = {name for name in vars(RoutedModel) if not name.startswith("_")} | {"__call__"}
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
    if name not in ("set_router", "detach"):
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
