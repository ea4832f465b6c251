"""Whatever shapes, dtypes and indices a router gives: every back end refuses, or computes what they mean."""

import sys

import pytest
import torch

from lorary.models import mix
from lorary.models.mix import mix_stacks
from lorary.models.mix_backends import BACKENDS, COMPILED
from lorary.models.mix_reference import mix_reference

MODULE = sys.modules["lorary.models.mix_backends"]
TOKENS, EXPERTS, RANK, INPUTS, OUTPUTS, TOP_K = 6, 5, 3, 8, 8, 2
EVERY_BACKEND = [name for name in BACKENDS if name not in COMPILED or COMPILED[name](torch.zeros(1))] + [None]
REFUSALS = (ValueError, TypeError, IndexError, RuntimeError)


def draw():
    generator = torch.Generator().manual_seed(0)
    shapes = (TOKENS, INPUTS), (EXPERTS, RANK, INPUTS), (EXPERTS, RANK, OUTPUTS), (TOKENS, TOP_K)
    x, a, b_t, weights = (torch.randn(shape, generator=generator) for shape in shapes)
    indices = torch.randint(EXPERTS, (TOKENS, TOP_K), generator=generator)
    onto, ranks = torch.randn(TOKENS, OUTPUTS, generator=generator), torch.full((EXPERTS,), RANK)
    return {"x": x, "a": a, "b_t": b_t, "indices": indices, "weights": weights, "onto": onto, "ranks": ranks}


def set_index(number):
    def change(tensor):
        tensor = tensor.clone()
        tensor[2, 1] = number
        return tensor

    return change


# Name of a change: of which tensor, how, and whether it still means something.
CHANGES = {
    "weights of one token": ("weights", lambda t: t[:1], False),
    "weights of one choice": ("weights", lambda t: t[:, :1], False),
    "weights without a choice": ("weights", lambda t: t[:, :0], False),
    "weights as a row": ("weights", lambda t: t[:, 0], False),
    "weights the other way round": ("weights", lambda t: t.T, False),
    "weights on no device": ("weights", lambda t: t.to("meta"), False),
    "complex weights": ("weights", lambda t: t.to(torch.complex64), False),
    "sparse weights": ("weights", lambda t: t.to_sparse(), False),
    "wide weights": ("weights", lambda t: t.double(), True),
    "negated weights": ("weights", lambda t: torch.complex(t * 0, -t).conj().imag, True),
    "indices of one token": ("indices", lambda t: t[:1], False),
    "indices of fewer tokens": ("indices", lambda t: t[:-1], False),
    "indices of more tokens": ("indices", lambda t: torch.cat([t, t]), False),
    "indices of three axes": ("indices", lambda t: t[None], False),
    "one index": ("indices", lambda t: t[0, 0], False),
    "indices that are no integers": ("indices", lambda t: t + 0.7, False),
    "indices that say yes or no": ("indices", lambda t: t.bool(), False),
    "short indices": ("indices", lambda t: t.int(), True),
    "the last expert as -1": ("indices", set_index(-1), False),
    "an expert too many": ("indices", set_index(EXPERTS), False),
    "a huge index": ("indices", set_index(2**62), False),
    "the least index": ("indices", set_index(-(2**63)), False),
    "indices on no device": ("indices", lambda t: t.to("meta"), False),
    "x of one token": ("x", lambda t: t[:1], False),
    "x too narrow": ("x", lambda t: t[:, 1:], False),
    "x of integers": ("x", lambda t: t.long(), False),
    "x with its rows apart": ("x", lambda t: t.repeat(1, 2)[:, :INPUTS], True),
    "a of another rank": ("a", lambda t: t[:, 1:], False),
    "a of one rank": ("a", lambda t: t[:, :1], False),
    "a of one expert": ("a", lambda t: t[:1], False),
    "a of complex numbers": ("a", lambda t: t.to(torch.complex64), False),
    "a of one row for all": ("a", lambda t: t[:, :1].expand_as(t), True),
    "b of one expert": ("b_t", lambda t: t[:1], False),
    "b too wide": ("b_t", lambda t: torch.cat([t, t], 2), False),
    "onto of one token": ("onto", lambda t: t[:1], False),
    "onto of one column": ("onto", lambda t: t[:, :1], False),
    "ranks of fewer experts": ("ranks", lambda t: t[1:], False),
    "ranks of one expert": ("ranks", lambda t: t[:1], False),
}  # fmt: skip


@pytest.fixture(params=CHANGES)
def changed(request):
    """The tensors with one changed, and whether they still mean something."""
    name, change, is_sound = CHANGES[request.param]
    tensors = draw()
    tensors[name] = change(tensors[name])
    return tensors, is_sound


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_mix_refuses_what_does_not_fit(changed, backend, combine):
    tensors, is_sound = changed
    b = tensors["b_t"].mT
    x, a, _, indices, weights, onto, ranks = tensors.values()
    check(lambda: mix(x, a, b, indices, weights, combine, backend, onto, ranks), tensors, is_sound, combine)


@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("backend", ["compiled", "triton", "dense", "gather", "grouped"])
def test_layers_refuse_what_does_not_fit(changed, backend, combine, monkeypatch):
    """A router's answer was stretched over tokens, or read as memory that it was not."""
    tensors, is_sound = changed
    if backend in COMPILED:
        if not COMPILED[backend](torch.zeros(1)):
            pytest.skip(f"no {backend} operators here")
        if backend == "triton":
            monkeypatch.setenv("LORARY_KERNELS", "triton")
    else:
        monkeypatch.setattr(MODULE, "find_operators", lambda x: None)
    chosen = backend if backend in ("dense", "gather", "grouped") else "compiled"
    monkeypatch.setattr(MODULE, "choose_backend", lambda *sizes: chosen)
    x, a, b_t, indices, weights, onto, ranks = tensors.values()
    is_unknown = indices.device.type == "cpu" and not ((indices >= 0) & (indices < EXPERTS)).all()
    if backend == "triton" and is_unknown:
        y = mix_stacks(x, a, b_t, indices, weights, combine, onto, ranks)
        assert y[2].isnan().all()
        return
    check(lambda: mix_stacks(x, a, b_t, indices, weights, combine, onto, ranks), tensors, is_sound, combine)


def check(call, tensors, is_sound, combine):
    if not is_sound:
        with pytest.raises(REFUSALS) as refusal:
            call()
        assert len(str(refusal.value)) < 1000
        return
    x, a, b_t, indices, weights, onto, _ = tensors.values()
    wide = (each.double() for each in (x, a, b_t))
    expected = mix_reference(*wide, indices.long(), weights.double(), combine) + onto.double()
    torch.testing.assert_close(call().double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_ranks_of_any_integers_mean_the_same(backend):
    """Ranks of 32 bits were read as half as many of 64, silently."""
    x, a, b_t, indices, weights, onto, _ = draw().values()
    ranks = torch.tensor([1, 3, 2, 0, 3])
    is_used = (torch.arange(RANK) < ranks[:, None])[:, :, None]
    a, b = a * is_used, (b_t * is_used).mT
    expected = mix(x, a, b, indices, weights, "outputs", backend, onto)
    for dtype in (torch.int64, torch.int32, torch.uint8):
        found = mix(x, a, b, indices, weights, "outputs", backend, onto, ranks.to(dtype))
        torch.testing.assert_close(found, expected)
    spread = ranks.repeat_interleave(3)[::3]
    torch.testing.assert_close(mix(x, a, b, indices, weights, "outputs", backend, onto, spread), expected)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("number", [-1, RANK + 1, 2**62])
def test_a_rank_that_there_is_not_is_refused(backend, number):
    x, a, b_t, indices, weights, onto, ranks = draw().values()
    ranks[1] = number
    with pytest.raises(RuntimeError, match=r"ranks must be in \[0, 3\], the rank of the factors"):
        mix(x, a, b_t.mT, indices, weights, "outputs", backend, onto, ranks)


def test_the_base_layers_answer_may_have_the_dtype_of_autocast():
    """Numbers of 16 bits were read as half as many of 32."""
    x, a, b_t, indices, weights, onto, ranks = draw().values()
    narrow = onto.bfloat16()
    found = mix_stacks(x, a, b_t, indices, weights, "outputs", narrow, ranks)
    torch.testing.assert_close(
        found, mix_stacks(x, a, b_t, indices, weights, "outputs", narrow.float(), ranks)
    )


def test_what_is_no_tensor_is_told():
    x, a, b_t, indices, weights, *_ = draw().values()
    with pytest.raises(TypeError, match="weights must be a tensor, found 'list'"):
        mix(x, a, b_t.mT, indices, weights.tolist())
    with pytest.raises(TypeError, match="a must be a tensor, found 'NoneType'"):
        mix(x, None, b_t.mT, indices, weights)
