"""Whose experts a thread gets when several share one stack."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lorary.models import attach_experts, select_positions
from lorary.models.capture import capture_inputs
from lorary.models.grow import drop_expert, insert_expert
from lorary.models.plan import Plan
from lorary.models.routing_context import Call
from lorary.routing.fixed import FixedRouter

NUM_THREADS = 3
ROUNDS = 12


@pytest.fixture
def stack(llama, make_expert):
    experts = {name: make_expert(llama, name, seed=seed) for seed, name in enumerate(["a", "b", "c"])}
    return attach_experts(llama, experts)


def run_at_once(do):
    """Call ``do(number)`` in several threads at once, many times; the answers of each thread."""
    start = threading.Barrier(NUM_THREADS)

    def repeat(number):
        answers = []
        for _ in range(ROUNDS):
            start.wait(30)
            answers.append(do(number))
        return answers

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(repeat, range(NUM_THREADS)))


def assert_as_alone(do):
    alone = [do(number) for number in range(NUM_THREADS)]
    assert not torch.equal(alone[0], alone[1])
    for expected, answers in zip(alone, run_at_once(do), strict=True):
        assert all(torch.equal(answer, expected) for answer in answers)


def fixed(stack, number):
    return dict.fromkeys(stack.layers, FixedRouter(torch.tensor([number])))


CONTEXTS = {
    "assign": lambda stack, number: stack.assign([stack.names[number]] * 3),
    "planned": lambda stack, number: stack.planned(
        torch.tensor([[number, 0]] * 3), torch.ones(3, 2), ["outputs", "factors"][number % 2]
    ),
    "choosing": lambda stack, number: stack.choosing(stack.layer_routers(fixed(stack, number))),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_threads_get_their_own_experts_at_once(stack, compute_logits, name):
    """Guards a bug: threads got each other's experts, and one's plan was left behind for all."""

    def answer(number):
        with CONTEXTS[name](stack, number):
            return compute_logits(stack.model)

    assert_as_alone(answer)
    assert stack.context.active is stack.context.default


def test_a_thread_is_not_bound_by_anothers_context(stack, compute_logits):
    base = compute_logits(stack.model)
    with stack.assign(["b"] * 3), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(compute_logits, stack.model).result(), base)
        assert not torch.equal(compute_logits(stack.model), base)


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_restore_the_outer_one_also_after_an_exception(stack, name):
    with stack.assign(["a"] * 3):
        outer = stack.context.active
        with pytest.raises(ZeroDivisionError), CONTEXTS[name](stack, 1):
            1 / 0  # noqa: B018
        assert stack.context.active is outer
    assert stack.context.active is stack.context.default


def test_threads_capture_their_own_inputs_and_select_their_own_positions(stack):
    path = next(iter(stack.layers))

    def answer(number):
        ids, seen = torch.full((1, number + 2), number + 5), []
        with (
            capture_inputs(stack, torch.ones_like(ids, dtype=torch.bool), lambda p, x: seen.append((p, x))),
            select_positions(stack.model, torch.tensor([number])),
            torch.no_grad(),
        ):
            logits = stack.model(input_ids=ids, use_cache=False).logits
        assert len(seen) == len(stack.layers)
        return torch.cat([logits.flatten(), dict(seen)[path].flatten()])

    assert_as_alone(answer)


def test_the_base_model_is_alone_only_while_no_other_thread_uses_it(stack, compute_logits):
    base = compute_logits(stack.model)

    def answer(number):
        if number == 0:
            with stack.set_aside():
                return compute_logits(stack.model)
        with stack.assign([stack.names[number]] * 3):
            return compute_logits(stack.model)

    assert torch.equal(answer(0), base)
    assert_as_alone(answer)


def test_experts_come_and_go_only_while_no_other_thread_uses_the_model(stack, make_expert, compute_logits):
    new = make_expert(stack.model, "d", seed=9)

    def answer(number):
        if number == 0:
            # At the end: between the two calls the others use the stack with its old places.
            grown = drop_expert(insert_expert(stack, new, len(stack.names)), "d")
            assert grown.context is stack.context
            return torch.zeros(1)
        with stack.assign([stack.names[number]] * 3):
            return compute_logits(stack.model)

    assert_as_alone(answer)


CHANGES = {
    "set a router": lambda stack: stack.set_default(None),
    "detach the experts": lambda stack: stack.detach(),
    "set the experts aside": lambda stack: stack.set_aside().__enter__(),
    "remove an expert": lambda stack: drop_expert(stack, "a"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("name", CONTEXTS)
def test_within_a_context_nothing_is_changed_for_all(stack, what, name):
    with (
        CONTEXTS[name](stack, 1),
        pytest.raises(ValueError, match=f"leave the contexts .* before you {what}"),
    ):
        CHANGES[what](stack)


def test_a_copy_of_a_model_begins_with_nobody_deciding(stack, compute_logits):
    base = compute_logits(stack.model)
    with stack.assign(["a"] * 3):
        copied = copy.deepcopy(stack.model)
    assert torch.equal(compute_logits(copied), base)


def test_layers_run_again_for_gradients_have_their_plan_in_any_thread(stack):
    """On GPUs, autograd runs them in threads of its own."""
    own = stack.context.own
    call = Call(Plan(torch.tensor([[0]]), torch.ones(1, 1), 3))
    with own.set_to(call):
        again = own.set_to(own.cell.value)

    def run_again():
        with again:
            return own.cell.value

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_again).result() is call
        assert pool.submit(lambda: own.cell.value).result() is None
