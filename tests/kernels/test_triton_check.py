"""Models use Triton's operators on a device only after these gave there what PyTorch gives."""

import logging
import re

import pytest
import torch

pytest.importorskip("triton")

from lorary import kernels
from lorary.kernels import cpu, triton_check, triton_ops
from lorary.kernels.triton_modules import is_triton_for

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not is_triton_for(torch.zeros(1)), reason="needs Triton's interpreter")


class OnGpu:
    """What is asked of a tensor on a GPU."""

    device, dtype, is_cuda = torch.device("cuda:0"), torch.float32, True


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing tried yet, and few tokens that are taken for many."""
    monkeypatch.setattr(triton_check, "MANY", 12)
    monkeypatch.setattr(triton_ops, "FEW_PAIRS", 10)
    tried = triton_check.is_right_on
    tried.cache_clear()
    yield
    tried.cache_clear()


@pytest.mark.parametrize("dtype", triton_check.TOLERANCES, ids=str)
def test_operators_that_are_right_pass(dtype, caplog):
    with caplog.at_level(logging.WARNING):
        assert triton_check.is_right_on(CPU, dtype)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mix_rows", "mix, outputs is off by .* with 4 tokens.*mix, factors is off"),
        ("shrink_rows", "shrink is off"),
        ("expand_rows", "expand is off"),
        ("gather_rows", "gather is off"),
    ],
)
def test_an_operator_that_is_wrong_is_told_and_none_is_used(name, told, monkeypatch, caplog):
    right = getattr(triton_ops, name)
    monkeypatch.setattr(triton_ops, name, lambda *inputs: 1.1 * right(*inputs))
    assert not triton_check.is_right_on(CPU, torch.float32)
    [record] = caplog.records
    assert "plain PyTorch" in record.getMessage()
    assert re.search(told, record.getMessage())


def test_a_wrong_choice_is_told(monkeypatch, caplog):
    right = triton_ops.choose_along

    def choose_others(*inputs):
        indices, weights = right(*inputs)
        return (indices + 1) % triton_check.EXPERTS, weights.flip(1)

    monkeypatch.setattr(triton_ops, "choose_along", choose_others)
    assert not triton_check.is_right_on(CPU, torch.float32)
    assert "choose is off" in caplog.text
    assert "share is off" in caplog.text


def test_a_compiler_that_fails_is_told_once(monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no such device")

    monkeypatch.setattr(triton_ops, "mix_rows", fail)
    assert not triton_check.is_right_on(CPU, torch.float32)
    assert not triton_check.is_right_on(CPU, torch.float32)
    [record] = caplog.records
    assert "RuntimeError: no such device" in record.getMessage()


@pytest.mark.parametrize(
    ("wish", "is_right", "expected"),
    [
        (None, True, triton_ops),
        (None, False, None),
        ("0", True, None),
        ("triton", False, triton_ops),
    ],
)
def test_on_a_gpu_they_are_used_if_right_or_asked_for(wish, is_right, expected, monkeypatch):
    monkeypatch.setattr(triton_check, "is_right_on", lambda device, dtype: is_right)
    monkeypatch.delenv("LORARY_KERNELS", raising=False)
    if wish is not None:
        monkeypatch.setenv("LORARY_KERNELS", wish)
    assert kernels.find_operators(OnGpu()) is expected


def test_on_a_cpu_they_are_used_only_if_asked_for(monkeypatch):
    monkeypatch.delenv("LORARY_KERNELS", raising=False)
    assert kernels.find_operators(torch.zeros(1)) in (cpu, None)
    monkeypatch.setenv("LORARY_KERNELS", "triton")
    assert kernels.find_operators(torch.zeros(1)) is triton_ops
