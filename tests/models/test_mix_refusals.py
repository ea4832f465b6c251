import pytest
import torch

from lorary.models import mix
from lorary.models.mix_backends import BACKENDS, COMPILED

EVERY_BACKEND = [name for name in BACKENDS if name not in COMPILED or COMPILED[name](torch.zeros(1))] + [None]


def draw(dtype=torch.float32, width_in=6, width_out=11):
    """Five tensors that ``mix`` takes: 7 tokens, 5 experts of rank 3, 2 per token."""
    generator = torch.Generator().manual_seed(0)
    shapes = (7, width_in), (5, 3, width_in), (5, width_out, 3), (7, 2)
    x, a, b, weights = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return x, a, b, torch.randint(5, (7, 2), generator=generator), weights


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("index", [5, 10**9])
def test_an_expert_that_does_not_exist_is_refused(backend, index):
    x, a, b, indices, weights = draw()
    indices = indices.clone()
    indices[2, 1] = index
    with pytest.raises((IndexError, RuntimeError)):
        mix(x, a, b, indices, weights, backend=backend)


def test_what_cannot_be_added_to_is_refused():
    x, *others = draw()
    with pytest.raises(ValueError, match=r"onto must be \(7, 11\) in torch\.float32, found \(7, 10\) in"):
        mix(x, *others, onto=torch.zeros(7, 10))
    with pytest.raises(ValueError, match=r"found .* in torch\.float64"):
        mix(x, *others, onto=torch.zeros(7, 11, dtype=torch.float64))


def test_a_number_of_ranks_that_is_not_that_of_experts_is_refused():
    with pytest.raises(ValueError, match=r"ranks must be \[5\], one per expert, found \(4,\)"):
        mix(*draw(), ranks=torch.ones(4, dtype=torch.int64))


def test_compiled_operators_are_refused_for_what_they_do_not_know():
    x, a, b, indices, weights = draw(torch.float16)
    with pytest.raises(ValueError, match=r"no compiled operators for torch\.float16 on cpu here"):
        mix(x, a, b, indices, weights, backend="compiled")


def test_an_unknown_combine_is_refused():
    with pytest.raises(ValueError, match=r"combine must be one of \('outputs', 'factors'\), not 'both'"):
        mix(*draw(), "both")


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match=r"backend must be one of \('reference', .*\), found 'cuda'"):
        mix(*draw(), backend="cuda")


@pytest.mark.parametrize(
    ("place", "shape", "message"),
    [
        (0, (7, 1, 8), r"mix needs x \[T, I\], .* found \(7, 1, 8\), \(5, 3, 8\)"),
        (0, (7, 9), r"must agree on I, E and R, found \(7, 9\), \(5, 3, 8\) and \(5, 8, 3\)"),
        (1, (4, 3, 8), r"\(4, 3, 8\) and \(5, 8, 3\)"),
        (2, (5, 8, 4), r"\(5, 3, 8\) and \(5, 8, 4\)"),
        (4, (7, 3), r"must both be \[T, K\] with T = 7, found \(7, 2\) and \(7, 3\)"),
        (0, (6, 8), r"must both be \[T, K\] with T = 6, found \(7, 2\) and \(7, 2\)"),
    ],
)
def test_shapes_that_disagree_are_refused(place, shape, message):
    tensors = list(draw(width_in=8, width_out=8))
    tensors[place] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        mix(*tensors)
