import pytest
import torch
from torch.nn import functional

from lorary.models.cross_entropy import cross_entropy


def draw(rows, width, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(rows, width, generator=generator)).to(dtype).requires_grad_()
    labels = torch.randint(0, width, (rows,), generator=generator)
    return logits, labels, torch.rand(rows, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "width"), [(5, 7), (1, 3), (0, 4), (40, 70_000)])
def test_loss_and_gradient_are_torchs_in_float32(dtype, rows, width):
    logits, labels, weights = draw(rows, width, dtype)
    found = cross_entropy(logits, labels)
    (found * weights).sum().backward()
    gradient, logits.grad = logits.grad, None
    expected = functional.cross_entropy(logits.float(), labels, reduction="none")
    (expected * weights).sum().backward()
    assert found.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, logits.grad)


def test_gradients_are_those_of_finite_differences():
    logits, labels, _ = draw(4, 6, torch.float32)
    weights = torch.linspace(-1, 2, 4)
    (cross_entropy(logits, labels) * weights).sum().backward()
    step = 1e-2
    with torch.no_grad():
        for index in [(0, 0), (2, 5), (3, int(labels[3]))]:
            moved = [logits.clone() for _ in range(2)]
            moved[0][index] += step
            moved[1][index] -= step
            up, down = ((cross_entropy(m, labels) * weights).sum() for m in moved)
            torch.testing.assert_close(logits.grad[index], (up - down) / (2 * step), atol=1e-3, rtol=1e-2)


def test_huge_logits_do_not_overflow():
    logits = torch.tensor([[3e4, -3e4, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(6e4)
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0]]
