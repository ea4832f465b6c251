import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorary.errors import IncompatibleExpert
from lorary.files import escape_markdown
from lorary.models import attach_experts, load_base, save_folded


@pytest.fixture
def base(build_tiny_base, tmp_path):
    built = build_tiny_base()
    built.model.save_pretrained(tmp_path / "base")
    built.tokenizer.save_pretrained(tmp_path / "base")
    return load_base(str(tmp_path / "base"), dtype=torch.float32)


@pytest.fixture
def expert(base, draw_expert):
    return draw_expert(base, "dates", tasks=("days", "years"), parents=("a", "b"))


INPUT_IDS = torch.tensor([[5, 9, 200, 31]])


@torch.no_grad()
def test_plain_transformers_gives_the_logits_of_base_and_expert(base, expert, tmp_path):
    plain = base.model(input_ids=INPUT_IDS).logits
    save_folded(base, expert, tmp_path / "out")
    assert torch.equal(base.model(input_ids=INPUT_IDS).logits, plain)
    folded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    stack = attach_experts(base.model, {"dates": expert})
    with stack.assign(["dates"]):
        expected = base.model(input_ids=INPUT_IDS).logits
    torch.testing.assert_close(folded(input_ids=INPUT_IDS).logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, plain, atol=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("two days")["input_ids"] == base.tokenizer("two days")["input_ids"]


def test_weights_are_written_in_the_dtype_asked_for(base, expert, tmp_path):
    save_folded(base, expert, tmp_path / "out", dtype=torch.bfloat16)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.bfloat16


def test_the_readme_says_what_went_in(base, expert, tmp_path):
    save_folded(base, expert, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    for fact in (escape_markdown(base.name), base.fingerprint, "Tasks: days, years", "Merged from: a, b"):
        assert fact in page


def test_an_expert_of_another_base_is_refused_and_nothing_written(
    base, draw_expert, build_tiny_base, tmp_path
):
    other = draw_expert(build_tiny_base(seed=1), "other")
    with pytest.raises(IncompatibleExpert, match="was trained on"):
        save_folded(base, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
