"""On a GPU: Triton's operators in models give what the CPU gives, as they are and as CUDA graphs."""

import pytest
import torch

from lorary.assembly import load_model
from lorary.data import TokenizedExample
from lorary.kernels import find_operators
from lorary.kernels.triton_modules import load_triton
from lorary.models import COMBINES, mix
from lorary.routing import ArrowConfig
from lorary.training import TrainConfig, TrainingExamples, train_experts

pytestmark = pytest.mark.gpu

FEW, MANY = (2, 9), (3, 200)  # pairs one by one, or sorted


@pytest.fixture(autouse=True)
def triton(monkeypatch):
    monkeypatch.setenv("LORARY_KERNELS", "triton")


def test_operators_pass_their_own_check(monkeypatch):
    monkeypatch.delenv("LORARY_KERNELS")
    assert find_operators(torch.zeros(1, device="cuda")) is load_triton()


@pytest.fixture
def on_gpu(build_tiny_base, experts):
    base = build_tiny_base()
    base.model.to("cuda")
    return load_model(base, experts, router="arrow", top_k=3)


@torch.no_grad()
def find_logits(model, shape):
    ids = torch.randint(1, 257, shape, generator=torch.Generator().manual_seed(3))
    return model(input_ids=ids.to(model.model.device)).logits.cpu()


@pytest.mark.parametrize("router", ["arrow", "calibrated"])
def test_a_model_is_moved_there_and_back(model, router):
    model.set_router(router)
    expected = find_logits(model, FEW)
    assert model.to("cuda") is model and model.device.type == "cuda"
    tensors = [*model.model.parameters(), *model.model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}
    torch.testing.assert_close(find_logits(model, FEW), expected, atol=1e-3, rtol=1e-3)
    with model.assign(["dates", "narrow"]):
        find_logits(model, FEW)
    assert isinstance(model.generate("3 apples cost", max_new_tokens=4), str)
    assert torch.equal(find_logits(model.cpu(), FEW), expected)


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize("combine", COMBINES)
def test_logits_are_those_of_the_cpu(model, on_gpu, combine, shape):
    for each in (model, on_gpu):
        each.set_router("arrow", ArrowConfig(top_k=3), combine)
    torch.testing.assert_close(find_logits(on_gpu, shape), find_logits(model, shape), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("shape", [FEW, MANY])
def test_experts_by_name_are_those_of_the_cpu(model, on_gpu, shape):
    names = ["dates", "narrow", "morse"][: shape[0]]
    with model.assign(names), on_gpu.assign(names):
        found, expected = find_logits(on_gpu, shape), find_logits(model, shape)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore")  # those of PyTorch's compiler
def test_answers_by_cuda_graphs_are_the_same(on_gpu):
    prompts = ["3 apples cost", "-.-.", "plural of"]
    expected = on_gpu.generate(prompts, max_new_tokens=8)
    assert on_gpu.generate(prompts, max_new_tokens=8, compile=True) == expected


@pytest.mark.parametrize("tokens", [5, 700])
@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_gradients_are_those_of_the_formula(tokens, combine, dtype, tolerance):
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*size):
        return torch.randn(size, generator=generator, device="cuda")

    tensors = draw(tokens, 64), draw(9, 8, 64), draw(9, 48, 8), draw(tokens, 2)
    indices = torch.randint(9, (tokens, 2), generator=generator, device="cuda")
    found, exact = (
        differentiate(*(tensor.to(kind) for tensor in tensors), indices, combine, backend)
        for kind, backend in ((dtype, "triton"), (torch.float64, "reference"))
    )
    for one, other in zip(found, exact, strict=True):
        assert (one.double() - other).norm() <= tolerance * other.norm()


def differentiate(x, a, b, weights, indices, combine, backend):
    leaves = [tensor.requires_grad_() for tensor in (x, a, b, weights)]
    y = mix(*leaves[:3], indices, leaves[3], combine, backend)
    return [y, *torch.autograd.grad(y.square().sum(), leaves)]


def test_experts_learn_as_on_the_cpu(build_tiny_base, tmp_path):
    examples = {
        name: TrainingExamples(
            train=tuple(TokenizedExample((5, 9, 2, 40 + n), (shift + n,)) for n in range(8))
        )
        for name, shift in {"one": 60, "two": 90}.items()
    }
    config = TrainConfig(rank=4, batch_size=4, max_steps=6)
    curves = []
    for device in ("cpu", "cuda"):
        base = build_tiny_base()
        base.model.to(device)
        outcome = train_experts(base, examples, config, tmp_path / device)
        curves.append(
            {name: [loss for _, loss in progress.train_curve] for name, progress in outcome.progress.items()}
        )
    for name in examples:
        assert curves[1][name] == pytest.approx(curves[0][name], rel=1e-3)
