import pytest
import torch

from lorary.kernels import cpu
from lorary.models import COMBINES, mix
from lorary.models.mix_backends import BACKENDS, COMPILED, choose_backend

EVERY_BACKEND = [name for name in BACKENDS if name not in COMPILED or COMPILED[name](torch.zeros(1))] + [None]
EVERY_BACKEND += ["triton, sorted"] if "triton" in EVERY_BACKEND else []

# T tokens, E experts, R rank, I input, O output, K experts per token.
SIZES = {
    "square": (7, 5, 3, 8, 8, 2),
    "wide": (7, 5, 3, 6, 11, 2),
    "narrow": (7, 5, 3, 11, 6, 2),
    "rank above width": (6, 4, 12, 5, 7, 2),
    "one expert": (4, 1, 2, 6, 5, 1),
    "one token": (1, 6, 2, 6, 5, 3),
    "all experts": (5, 4, 2, 6, 5, 4),
    "more choices than experts": (5, 2, 2, 6, 5, 4),
    "many experts": (9, 90, 2, 6, 5, 3),
    "no token": (0, 4, 2, 6, 5, 2),
    "no choice": (3, 4, 2, 6, 5, 0),
}


def kill_expert(x, a, b, indices, weights):
    a, b = a.clone(), b.clone()
    a[1], b[1] = 0, 0
    return x, a, b, indices, weights


def leave_untrained(x, a, b, indices, weights):
    b = b.clone()
    b[1] = 0
    return x, a, b, indices, weights


def mix_ranks(x, a, b, indices, weights):
    a, b = a.clone(), b.clone()
    for expert in range(a.shape[0]):
        rank = 1 + expert % a.shape[1]
        a[expert, rank:], b[expert, :, rank:] = 0, 0
    return x, a, b, indices, weights


def repeat_choice(x, a, b, indices, weights):
    return x, a, b, indices[:, :1].repeat(1, 2), weights


def use_one_expert(x, a, b, indices, weights):
    return x, a, b, torch.full_like(indices, 3), weights


def zero_weights(x, a, b, indices, weights):
    weights = weights.clone()
    weights[::2, 0], weights[3] = 0, 0
    return x, a, b, indices, weights


def expand_choice(x, a, b, indices, weights):
    return x, a, b, indices[:1].expand_as(indices), weights[:1].expand_as(weights)


def transpose_b(x, a, b, indices, weights):
    return x, a, b.transpose(1, 2).contiguous().transpose(1, 2), indices, weights


def stride_rows(x, a, b, indices, weights):
    return x.repeat_interleave(2, 0)[::2], a.transpose(1, 2).contiguous().transpose(1, 2), b, indices, weights


def shorten_integers(x, a, b, indices, weights):
    return x, a, b, indices.int(), weights


TWISTS = [
    kill_expert, leave_untrained, mix_ranks, repeat_choice, use_one_expert, zero_weights, expand_choice,
    transpose_b, stride_rows, shorten_integers,
]  # fmt: skip
CASES = {
    **{name: (size, None) for name, size in SIZES.items()},
    **{t.__name__: ("square", t) for t in TWISTS},
}


def draw(case, dtype=torch.float64):
    """The five tensors of a case; weights of both signs that do not sum to 1."""
    size, twist = CASES[case]
    tokens, experts, rank, width_in, width_out, top_k = SIZES.get(size, size)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    x, a, b = normal(tokens, width_in), normal(experts, rank, width_in), normal(experts, width_out, rank)
    indices = torch.randint(experts, (tokens, top_k), generator=generator)
    tensors = x, a, b, indices, normal(tokens, top_k)
    return twist(*tensors) if twist else tensors


def mix_naive(x, a, b, indices, weights, combine):
    """The formula, token by token."""
    # Zero times everything, so that gradients exist even where there is no token.
    nothing = 0 * (x.sum() + a.sum() + b.sum() + weights.sum())
    y = x.new_zeros(x.shape[0], b.shape[1]) + nothing
    for t in range(x.shape[0]):
        chosen = [(weights[t, k], int(indices[t, k])) for k in range(indices.shape[1])]
        if not chosen:
            continue
        if combine == "outputs":
            total = sum(w * (b[e] @ (a[e] @ x[t])) for w, e in chosen)
        else:
            total = sum(w * b[e] for w, e in chosen) @ (sum(w * a[e] for w, e in chosen) @ x[t])
        y = y.index_add(0, torch.tensor([t]), total[None])
    return y


def compute_gradients(function, x, a, b, indices, weights):
    leaves = [tensor.detach().requires_grad_() for tensor in (x, a, b, weights)]
    y = function(*leaves[:3], indices, leaves[3])
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.autograd.grad((y.double() * direction).sum(), leaves)


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_every_backend_equals_the_sum_over_tokens(case, backend, combine):
    tensors = draw(case)
    torch.testing.assert_close(mix(*tensors, combine, backend), mix_naive(*tensors, combine))


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_gradients_of_every_backend_equal_those_of_the_sum(case, backend, combine):
    tensors = draw(case)
    found = compute_gradients(lambda *t: mix(*t, combine, backend), *tensors)
    expected = compute_gradients(lambda *t: mix_naive(*t, combine), *tensors)
    for name, one, other in zip(("x", "a", "b", "weights"), found, expected, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"gradient of {name}: {text}")


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_lower_precision_comes_near_the_sum_in_float64(dtype, tolerance, backend, combine):
    x, a, b, indices, weights = draw("wide", dtype)
    expected = mix_naive(*(t.double() for t in (x, a, b)), indices, weights.double(), combine)
    found = mix(x, a, b, indices, weights, combine, backend)
    assert found.dtype == dtype
    assert (found.double() - expected).norm() <= tolerance * expected.norm()
    gradients = compute_gradients(lambda *t: mix(*t, combine, backend), x, a, b, indices, weights)
    exact = compute_gradients(
        lambda *t: mix_naive(*t, combine), *(t.double() for t in (x, a, b)), indices, weights.double()
    )
    for one, other in zip(gradients, exact, strict=True):
        assert one.dtype == dtype
        assert (one.double() - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_experts_of_mixed_ranks_give_what_their_own_factors_give(backend):
    x, a, b, indices, weights = draw("mix_ranks")
    own = [(a[e, : 1 + e % 3], b[e, :, : 1 + e % 3]) for e in range(a.shape[0])]
    assert {pair[0].shape[0] for pair in own} == {1, 2, 3}
    found = mix(x, a, b, indices, weights, "outputs", backend)
    for t in range(x.shape[0]):
        chosen = zip(weights[t], indices[t].tolist(), strict=True)
        torch.testing.assert_close(found[t], sum(w * own[e][1] @ (own[e][0] @ x[t]) for w, e in chosen))


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize("ranks", [[1, 2, 3, 1, 2], [1, 0, 3, 0, 2]], ids=str)
def test_saying_the_ranks_changes_nothing(ranks, backend, combine):
    x, a, b, indices, weights = draw("mix_ranks")
    a, b = a.clone(), b.clone()
    for expert, rank in enumerate(ranks):
        a[expert, rank:], b[expert, :, rank:] = 0, 0
    tensors = x, a, b, indices, weights
    given = torch.tensor(ranks)
    expected = mix_naive(*tensors, combine)
    torch.testing.assert_close(mix(*tensors, combine, backend, ranks=given), expected)
    found = compute_gradients(lambda *t: mix(*t, combine, backend, ranks=given), *tensors)
    exact = compute_gradients(lambda *t: mix_naive(*t, combine), *tensors)
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
class TestContract:
    def test_the_same_inputs_give_the_same_bits(self, backend, combine):
        tensors = draw("square", torch.float32)
        assert torch.equal(mix(*tensors, combine, backend), mix(*tensors, combine, backend))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_the_dtype_of_x_is_kept_whatever_the_factors_have(self, backend, combine, dtype):
        x, a, b, indices, weights = draw("square", torch.float32)
        y = mix(x.to(dtype), a, b.bfloat16(), indices, weights.double(), combine, backend)
        assert (y.dtype, y.shape) == (dtype, (7, 8))

    def test_inputs_stay_untouched(self, backend, combine):
        tensors = draw("zero_weights")
        before = [tensor.clone() for tensor in tensors]
        mix(*tensors, combine, backend)
        assert all(torch.equal(one, other) for one, other in zip(tensors, before, strict=True))

    def test_renumbering_the_experts_changes_nothing(self, backend, combine):
        x, a, b, indices, weights = draw("square")
        order = torch.tensor([3, 0, 4, 1, 2])
        found = mix(x, a[order], b[order], order.argsort()[indices], weights, combine, backend)
        torch.testing.assert_close(found, mix(x, a, b, indices, weights, combine, backend))

    def test_the_order_of_a_tokens_experts_changes_nothing(self, backend, combine):
        x, a, b, indices, weights = draw("square")
        found = mix(x, a, b, indices.flip(1), weights.flip(1), combine, backend)
        torch.testing.assert_close(found, mix(x, a, b, indices, weights, combine, backend))

    def test_a_token_does_not_see_the_others(self, backend, combine):
        x, a, b, indices, weights = draw("square")
        together = mix(x, a, b, indices, weights, combine, backend)
        alone = mix(x[4:5], a, b, indices[4:5], weights[4:5], combine, backend)
        torch.testing.assert_close(alone, together[4:5])

    def test_a_token_with_no_weight_gets_exactly_nothing(self, backend, combine):
        x, a, b, indices, weights = draw("zero_weights")
        assert not mix(x, a, b, indices, weights, combine, backend)[3].any()

    def test_an_expert_of_weight_one_is_its_own_product(self, backend, combine):
        x, a, b, indices, weights = draw("wide")
        found = mix(x, a, b, indices[:, :1], torch.ones_like(weights[:, :1]), combine, backend)
        torch.testing.assert_close(
            found, torch.stack([b[e] @ a[e] @ x[t] for t, e in enumerate(indices[:, 0])])
        )


@pytest.mark.parametrize("num_experts", [1, 8, 128, 2000])
@pytest.mark.parametrize("num_tokens", [1, 16, 4096])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_some_backend_is_chosen_for_every_size(num_tokens, num_experts, is_compiled):
    chosen = choose_backend(num_tokens, 4, num_experts, 8, cpu if is_compiled else None)
    assert chosen in BACKENDS
    assert is_compiled or chosen != "compiled"


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_the_sum_is_added_to_what_is_given_which_stays_as_it_was(backend):
    x, *others = draw("wide", torch.float32)
    onto = torch.randn(x.shape[0], 11, generator=torch.Generator().manual_seed(2)).requires_grad_()
    kept = onto.detach().clone()
    y = mix(x, *others, backend=backend, onto=onto)
    torch.testing.assert_close(y, onto + mix(x, *others, backend=backend))
    y.sum().backward()
    assert torch.equal(onto.grad, torch.ones_like(onto))
    assert torch.equal(onto.detach(), kept)
