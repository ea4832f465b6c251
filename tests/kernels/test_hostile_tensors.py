"""Operators refuse what does not fit, or compute what PyTorch computes: drawn calls, one thing wrong at most.

Every tensor lies amid sentinels, so that a number read from beside it would show, as would one written there.
"""

import random

import pytest
import torch

from lorary.kernels import cpu
from lorary.kernels.checks import sum_dtype
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.triton_modules import is_triton_for, load_triton
from lorary.models.mix_reference import mix_reference

CASES = {"cpu": 2500, "triton": 30}  # of each operator; Triton's interpreter is slow
DTYPES = {torch.float32: 1e-4, torch.float64: 1e-9, torch.bfloat16: 5e-2}
REFUSALS = (ValueError, IndexError, TypeError)


@pytest.fixture(params=CASES)
def operators(request):
    if not {"cpu": is_compiled_for, "triton": is_triton_for}[request.param](torch.zeros(1)):
        pytest.skip("needs a C++ compiler, or Triton's interpreter")
    if torch.cuda.is_available() and request.param == "triton":
        pytest.skip("draws on the CPU")
    return cpu if request.param == "cpu" else load_triton()


class Arena:
    """Tensors amid sentinels: NaN around numbers, and a number of no expert around integers."""

    def __init__(self, generator):
        self.generator = generator
        self.kept = []

    def place(self, tensor):
        sentinel = torch.nan if tensor.is_floating_point() else -(2**40)
        buffer = torch.full((tensor.numel() + 128,), sentinel, dtype=tensor.dtype)
        inside = buffer[64 : 64 + tensor.numel()].view(tensor.shape)
        inside.copy_(tensor)
        self.kept.append((buffer, buffer.clone()))
        return inside

    def normal(self, *size, dtype):
        return self.place(torch.randn(size, generator=self.generator, dtype=torch.float64).to(dtype))

    def choose(self, experts, *size):
        return self.place(torch.randint(max(1, experts), size, generator=self.generator))

    def is_untouched(self):
        return all(torch.equal(now.nan_to_num(7), then.nan_to_num(7)) for now, then in self.kept)


def negate(tensor):
    """The same numbers as a view of their negatives, as ``z.conj().imag`` is one."""
    return torch._neg_view(-tensor)


def stride(tensor):
    return tensor.repeat_interleave(2, -1)[..., ::2] if tensor.ndim else tensor


def transpose(tensor):
    return tensor.mT.contiguous().mT


def lay_down(tensor):
    """The first row for all, without memory of its own."""
    return tensor[:1].expand_as(tensor) if len(tensor) else tensor


VIEWS = [negate, stride, transpose, lay_down]


def set_index(number):
    def change(tensor):
        tensor = tensor.clone()
        if tensor.numel():
            tensor.view(-1)[-1] = number
        return tensor

    return change


CHANGES = {
    "float": [
        lambda t: t[..., :-1],
        lambda t: t[:-1],
        lambda t: torch.cat([t, t[-1:]]),
        lambda t: t[None],
        lambda t: t[:1],
        lambda t: t.flatten(),
        lambda t: t.mT if t.ndim > 1 else t,
        lambda t: t.half(),
        lambda t: t.double() if t.dtype != torch.float64 else t.float(),
        lambda t: t.long(),
        lambda t: t.to(torch.complex64),
        lambda t: t.to("meta"),
        lambda t: t.to_sparse(),
        lambda t: t.new_empty(0),
        lambda t: torch._efficientzerotensor(t.shape, dtype=t.dtype),
        lambda t: t.tolist(),
        lambda t: t.numpy() if t.dtype != torch.bfloat16 else None,
        lambda t: None,
        lambda t: t.expand(3, *t.shape),
        lambda t: t.new_empty(0, *t.shape[1:]),
    ],
    "integer": [
        *map(set_index, (-1, 5, 2**31, 2**32, 2**62, -(2**63), 2**63 - 1)),
        lambda t: t.int(),
        lambda t: t.double(),
        lambda t: t.bool(),
        lambda t: t[:-1],
        lambda t: t[:1],
        lambda t: t[..., :-1],
        lambda t: t[None],
        lambda t: t.flatten()[:-1],
        lambda t: None,
        lambda t: t.to("meta"),
        lambda t: t.mT if t.ndim > 1 else t,
    ],
}


def draw_sizes(chance):
    """T, E, R, I, O, K: small, seldom 0."""
    return [chance.choice([0, 1, 1, 2, 3, 5, 17, 33]) if chance.random() < 0.97 else 0 for _ in range(6)]


def make_call(operator, chance, arena):
    """The arguments of one call that fits, by name, and what it should give."""
    tokens, experts, rank, inputs, outputs, top_k = draw_sizes(chance)
    dtype = chance.choice(list(DTYPES))
    wide = sum_dtype(dtype)
    if experts == 0:
        top_k = 0
    x = arena.normal(tokens, inputs, dtype=dtype)
    a, b_t = (
        arena.normal(experts, rank, inputs, dtype=dtype),
        arena.normal(experts, rank, outputs, dtype=dtype),
    )
    indices, weights = arena.choose(experts, tokens, top_k), arena.normal(tokens, top_k, dtype=wide)
    weighed = arena.normal(tokens, top_k, rank, dtype=wide)
    if operator in ("mix_rows", "mix_rows_kept"):
        onto = arena.normal(tokens, outputs, dtype=dtype) if chance.random() < 0.5 else None
        ranks = arena.place(torch.full((experts,), rank)) if chance.random() < 0.5 else None
        combine = chance.choice(["outputs", "factors"])
        given = {"x": x, "a": a, "b_t": b_t, "indices": indices, "weights": weights, "onto": onto}
        return given | {"combine": combine, "ranks": ranks}
    return {
        "shrink_rows": {"x": x, "factors": a, "indices": indices},
        "expand_rows": {"weighed": weighed, "factors": b_t, "indices": indices},
        "gather_rows": {"weighed": weighed, "x": x, "indices": indices, "num_experts": experts},
    }[operator]


def compute_reference(operator, given):
    """What PyTorch makes of the same call, in float64."""
    wide = {name: t.resolve_neg() if isinstance(t, torch.Tensor) else t for name, t in given.items()}
    indices = wide["indices"]  # PyTorch ignores that these are negated
    for name, tensor in wide.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            wide[name] = tensor.double()
    if operator.startswith("mix"):
        if wide["ranks"] is not None:
            is_used = torch.arange(wide["a"].shape[1]) < wide["ranks"][:, None]
            wide["a"], wide["b_t"] = wide["a"] * is_used[:, :, None], wide["b_t"] * is_used[:, :, None]
        y = mix_reference(*(wide[name] for name in ("x", "a", "b_t", "indices", "weights", "combine")))
        return y if wide["onto"] is None else y + wide["onto"]
    if operator == "shrink_rows":
        return torch.einsum("tw,tkrw->tkr", wide["x"], wide["factors"][indices])
    if operator == "expand_rows":
        return torch.einsum("tkr,tkrw->tw", wide["weighed"], wide["factors"][indices])
    pairs = torch.einsum("tkr,tw->tkrw", wide["weighed"], wide["x"])
    empty = pairs.new_zeros(given["num_experts"], *pairs.shape[2:])
    return empty.index_add(0, indices.flatten(), pairs.flatten(0, 1))


def describe(item):
    name, value = item
    return (
        f"{name} {tuple(value.shape)} {value.dtype}" if isinstance(value, torch.Tensor) else f"{name} {value}"
    )


def disturb(given, chance):
    """Give one tensor another form, or make one wrong; tell whether it was another form only."""
    names = [name for name, value in given.items() if isinstance(value, torch.Tensor)]
    name = chance.choice(names)
    tensor = given[name]
    if chance.random() < 0.4:
        view = chance.choice(VIEWS)
        given[name] = tensor if view is transpose and tensor.ndim < 2 else view(tensor)
        return True
    kind = "float" if tensor.is_floating_point() else "integer"
    try:
        given[name] = chance.choice(CHANGES[kind])(tensor)
    except (IndexError, RuntimeError):  # no such change for this shape
        return True
    return False


@pytest.mark.parametrize(
    "operator", ["mix_rows", "mix_rows_kept", "shrink_rows", "expand_rows", "gather_rows"]
)
@pytest.mark.filterwarnings("ignore")  # of PyTorch, that changes here are odd
def test_a_call_is_refused_or_right_and_reads_and_writes_nothing_beside_its_tensors(operators, operator):
    chance = random.Random(operator)
    counts = {"refused": 0, "right": 0}
    for number in range(CASES["cpu" if operators is cpu else "triton"]):
        arena = Arena(torch.Generator().manual_seed(number))
        given = make_call(operator, chance, arena)
        is_form_only = disturb(given, chance)
        shown = f"case {number}: " + ", ".join(map(describe, given.items()))
        try:
            found = getattr(operators, operator)(*given.values())
        except REFUSALS as refusal:
            message, found = str(refusal), None
        assert arena.is_untouched(), shown
        if found is None:
            assert not is_form_only, (shown, message)
            assert 10 < len(message) < 1000, shown
            counts["refused"] += 1
            continue
        found = found[0] if operator == "mix_rows_kept" else found
        counts["right"] += 1
        if not is_unknown(given, operator):
            expected = compute_reference(operator, given)
            scale = float(expected.abs().max()) if expected.numel() else 1.0
            tolerance = DTYPES.get(found.dtype, 1e-3) * max(scale, 1.0)
            assert found.shape == expected.shape, shown
            assert torch.allclose(found.double(), expected, rtol=0, atol=tolerance), shown
        else:
            assert operators is not cpu, shown
    assert min(counts.values()) > sum(counts.values()) / 10, counts


def is_unknown(given, operator):
    """Tell whether an index names no expert: Triton gives NaN then, or 0, as it was tested elsewhere."""
    indices = given["indices"].resolve_neg()
    experts = given["num_experts"] if operator == "gather_rows" else len(given.get("a", given.get("factors")))
    return bool(((indices < 0) | (indices >= experts)).any())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", ["choose_best", "choose_along"])
def test_a_choice_is_refused_or_of_different_experts_that_exist(operators, operator):
    chance = random.Random(operator)
    refused = 0
    count = CASES["cpu" if operators is cpu else "triton"]
    for number in range(count):
        arena = Arena(torch.Generator().manual_seed(number))
        tokens, experts, _, width, _, top_k = draw_sizes(chance)
        dtype = torch.float32 if operator == "choose_best" else chance.choice(list(DTYPES))
        names = {"choose_best": ["scores"], "choose_along": ["x", "prototypes"]}[operator]
        sizes = [(tokens, experts)] if operator == "choose_best" else [(tokens, width), (experts, width)]
        given = {n: arena.normal(*size, dtype=dtype) for n, size in zip(names, sizes, strict=True)}
        for tensor in given.values():
            if tensor.numel() and chance.random() < 0.5:
                tensor.view(-1)[chance.randrange(tensor.numel())] = chance.choice(
                    [torch.nan, torch.inf, -torch.inf, 3e38]
                )
        arena.kept = [(buffer, buffer.clone()) for buffer, _ in arena.kept]
        disturb(given, chance)
        top_k = (
            chance.choice([top_k, 1, 2, 0, -1, 2**40, 2**64, 1.5])
            if chance.random() < 0.3
            else min(top_k, experts)
        )
        temperature = chance.choice([1.0, 0.3, 1e-300, 1e300, 10**400, 0.0, -1.0, torch.nan, torch.inf])
        abstain = chance.choice([None, 0.5, -3.0, 1e300, -1e300, torch.inf, torch.nan, 10**400])
        try:
            indices, weights = getattr(operators, operator)(*given.values(), top_k, temperature, abstain)
        except REFUSALS as refusal:
            message, weights = str(refusal), None
        assert arena.is_untouched()
        if weights is None:
            assert 10 < len(message) < 1000
            refused += 1
            continue
        rows, experts = (
            given[names[0]].shape[0],
            given[names[-1]].shape[1 if operator == "choose_best" else 0],
        )
        assert indices.shape == weights.shape == (rows, top_k)
        assert ((indices >= 0) & (indices < experts)).all()
        assert all(len(set(row)) == top_k for row in indices.tolist())
        assert ((weights >= 0) & (weights <= 1)).all(), (given, temperature, abstain, weights)
    assert count / 10 < refused < count * 0.95
