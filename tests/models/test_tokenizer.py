import pytest

from lorary.errors import BaseModelError
from lorary.models import wrap_base
from lorary.models.tokenizer import find_tokenizer


def test_a_given_tokenizer_is_used(llama, tokenizer):
    assert wrap_base(llama, tokenizer).tokenizer is tokenizer


def test_it_is_found_in_the_models_folder_once(llama, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    llama.config.save_pretrained(tmp_path)
    llama.config._name_or_path = str(tmp_path)
    base = wrap_base(llama)
    assert base.tokenizer is base.tokenizer
    assert base.tokenizer("yes no")["input_ids"] == tokenizer("yes no")["input_ids"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "none can be found (the model has no name_or_path)"),
        ("nobody/nothing", "none is on this machine for 'nobody/nothing'"),
        ("\x1b[31m", r"none is on this machine for"),
    ],
)
def test_a_tokenizer_that_is_not_here_is_asked_for(llama, name, reason):
    llama.config._name_or_path = name
    with pytest.raises(BaseModelError) as caught:
        find_tokenizer(llama)
    assert reason in str(caught.value) and "\x1b" not in str(caught.value)
    assert "Pass tokenizer=AutoTokenizer.from_pretrained(…)" in str(caught.value)


def test_a_folder_that_asks_for_code_is_refused(llama, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"attn_implementation": "owner/kernel:function"}')
    llama.config._name_or_path = str(tmp_path)
    with pytest.raises(BaseModelError, match="must not name code to be loaded"):
        find_tokenizer(llama)
