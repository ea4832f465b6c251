"""Adapters of every kind: equal to PEFT alone, in mixed batches, folded and written again."""

import warnings

import pytest
import torch

from lorary.experts import read_peft, write_peft
from lorary.models import attach_experts, fold
from tests.models.parts.adapters import GPT2, LLAMA, save, wrap

CASES = [("llama", kind) for kind in sorted(LLAMA)] + [("gpt2", kind) for kind in sorted(GPT2)]
CASES += [("qwen2", kind) for kind in ("dora", "bias", "ia3", "sparse", "tokens", "whole", "copies")]


@pytest.fixture(scope="module")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


@pytest.fixture
def case(peft, build_base, tmp_path, request):
    family, kind = request.param
    base = build_base(family)
    model = wrap(peft, base, kind, family)
    return base, model, save(model, tmp_path / "poetry"), family, kind


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("case", CASES, indirect=True, ids=lambda case: f"{case[0]} {case[1]}")
class TestKinds:
    def test_it_equals_peft_attached_folded_and_written_again(
        self, peft, case, compute_logits, input_ids, tmp_path
    ):
        base, model, folder, family, kind = case
        expected, plain = compute_logits(model), compute_logits(base)
        assert not torch.allclose(expected, plain, atol=1e-3)
        expert = read_peft(folder)
        if kind == "added bias" and family == "llama":
            with pytest.raises(Exception, match="has no bias, so a plain model cannot hold"):
                fold(base, expert)
        else:
            torch.testing.assert_close(compute_logits(fold(base, expert)), expected, atol=2e-5, rtol=1e-4)
        stack = attach_experts(base, {"poetry": expert})
        torch.testing.assert_close(compute_logits(base), plain, atol=0, rtol=0)
        with stack.assign(["poetry"] * 3):
            torch.testing.assert_close(compute_logits(base), expected, atol=2e-5, rtol=1e-4)
        with stack.assign(["poetry", None, "poetry"]):
            mixed = compute_logits(base)
        torch.testing.assert_close(mixed[[0, 2]], expected[[0, 2]], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(mixed[1], plain[1], atol=1e-6, rtol=1e-6)
        stack.detach()
        torch.testing.assert_close(compute_logits(base), plain, atol=0, rtol=0)
        write_peft(expert, tmp_path / "again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = peft.PeftModel.from_pretrained(base, tmp_path / "again").eval()
        torch.testing.assert_close(compute_logits(again), expected, atol=2e-5, rtol=1e-4)
