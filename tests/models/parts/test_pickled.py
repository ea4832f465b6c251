"""Adapters of every kind whose weights torch.save wrote are read as those in safetensors."""

import warnings

import pytest
import torch
from safetensors.torch import load_file

from lorary.experts import read_peft
from lorary.models import attach_experts
from tests.models.parts.adapters import LLAMA, save, wrap


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("kind", sorted(LLAMA))
def test_weights_by_torch_save_are_the_same(build_base, compute_logits, tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft
    base = build_base()
    folder = save(wrap(peft, base, kind, "llama"), tmp_path / "poetry")
    stack = attach_experts(base, {"poetry": read_peft(folder)})
    with stack.assign(["poetry"] * 3):
        expected = compute_logits(base)
    stack.detach()
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    stack = attach_experts(base, {"poetry": read_peft(folder)})
    with stack.assign(["poetry"] * 3):
        torch.testing.assert_close(compute_logits(base), expected, rtol=0, atol=0)
