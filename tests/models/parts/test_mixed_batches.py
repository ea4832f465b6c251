"""Experts of all kinds on one model: each row of a mixed batch has its own, however the batch is laid out."""

import copy
import threading
import warnings

import pytest
import torch

from lorary.experts import read_peft
from lorary.models import attach_experts, fold
from lorary.models.grow import drop_expert, insert_expert
from lorary.models.logits import select_positions
from tests.models.parts.adapters import save, wrap

KINDS = ["lora", "dora", "ia3", "sparse", "whole", "tokens", "embedding", "bias", "copies"]
CLOSE = {"atol": 3e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def made(build_base, tmp_path_factory):
    """A base model, an expert of each kind, and PEFT's logits of them and of the base model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft
    base = build_base("qwen2")
    ids = torch.randint(3, 96, (len(KINDS) + 1, 7), generator=torch.Generator().manual_seed(5))
    ids[:, 2] = 17  # a token that is trained
    experts, expected = {}, {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected[None] = base(input_ids=ids).logits
        for seed, kind in enumerate(KINDS):
            model = wrap(peft, base, kind, "qwen2", seed)
            experts[kind] = read_peft(save(model, tmp_path_factory.mktemp(kind.replace(" ", "-"))), kind)
            expected[kind] = model(input_ids=ids).logits
    return base, experts, expected, ids


@pytest.fixture
def stack(made):
    base, experts, _, _ = made
    stack = attach_experts(base, experts)
    yield stack
    stack.detach()


NAMES = [*KINDS, None]


@torch.no_grad()
def test_each_row_has_its_own(made, stack):
    base, _, expected, ids = made
    with stack.assign(NAMES):
        found = base(input_ids=ids, use_cache=False).logits
    for row, name in enumerate(NAMES):
        torch.testing.assert_close(found[row], expected[name][row], **CLOSE)


@torch.no_grad()
def test_steps_with_a_cache_are_the_whole(made, stack):
    base, _, expected, ids = made
    with stack.assign(NAMES):
        start = base(input_ids=ids[:, :4], use_cache=True)
        steps, cache = [start.logits], start.past_key_values
        for place in range(4, 7):
            step = base(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True)
            steps.append(step.logits)
    found = torch.cat(steps, 1)
    for row, name in enumerate(NAMES):
        torch.testing.assert_close(found[row], expected[name][row], **CLOSE)


@torch.no_grad()
def test_packed_texts_and_chosen_positions(made, stack):
    """Several requests in one row, padding between them, and logits at some positions only."""
    base, _, expected, ids = made
    chosen = [2, 0, len(NAMES) - 1]
    rows = torch.cat([torch.full((7,), row) for row in range(3)])[None]
    rows = torch.cat([rows, torch.full((1, 2), -1)], 1)
    packed = torch.cat([ids[row] for row in chosen] + [ids[0, :2]])[None]
    places = torch.cat([torch.arange(7)] * 3 + [torch.arange(2)])[None]
    indices = torch.tensor([[0 if NAMES[row] is None else stack.index(NAMES[row])] for row in chosen])
    weights = torch.tensor([[0.0 if NAMES[row] is None else 1.0] for row in chosen])
    positions = torch.tensor([6, 3, 13, 20])
    with stack.planned(indices, weights, rows=rows), select_positions(base, positions):
        found = base(input_ids=packed, position_ids=places, use_cache=False).logits[0]
    wanted = torch.cat([expected[NAMES[row]][row] for row in chosen])
    torch.testing.assert_close(found, wanted[positions], **CLOSE)


@torch.no_grad()
def test_threads_do_not_disturb_each_other(made, stack):
    base, _, expected, ids = made
    found = {}

    def run(name):
        for _ in range(3):
            with stack.assign([name] * len(ids)):
                found[name] = base(input_ids=ids, use_cache=False).logits

    threads = [threading.Thread(target=run, args=(name,)) for name in ("whole", "dora", None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, logits in found.items():
        torch.testing.assert_close(logits, expected[name], **CLOSE)


@torch.no_grad()
def test_a_stack_grows_to_what_attaching_makes_and_shrinks(made):
    base, experts, expected, ids = made
    stack = attach_experts(base, {"lora": experts["lora"]})
    try:
        for index, kind in enumerate(KINDS[1:]):
            stack = insert_expert(stack, experts[kind], index)
        stack = drop_expert(stack, "ia3")
        for name in ("lora", "dora", "whole", "embedding", None):
            with stack.assign([name] * len(ids)):
                torch.testing.assert_close(base(input_ids=ids).logits, expected[name], **CLOSE)
    finally:
        stack.detach()
    torch.testing.assert_close(base(input_ids=ids).logits, expected[None], atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dora", "ia3", "sparse", "whole"])
def test_half_precision_is_near(made, kind):
    base, experts, expected, ids = made
    half = copy.deepcopy(base).bfloat16()
    stack = attach_experts(half, {kind: experts[kind]})
    with stack.assign([kind] * len(ids)):
        found = half(input_ids=ids).logits.float()
    folded = fold(copy.deepcopy(base).bfloat16(), experts[kind])(input_ids=ids).logits.float()
    scale = expected[kind].norm()
    assert (found - expected[kind]).norm() < 0.03 * scale
    assert (folded - expected[kind]).norm() < 0.03 * scale
