"""What ``lorary generate`` refuses."""

import io
from dataclasses import replace

import pytest

from lorary.library import Library

PROMPT = "plural of mouse"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((PROMPT, "--expert", "price"), "has no expert 'price': did you mean 'prices'"),
        ((PROMPT, "--router", "arow"), "no router is named 'arow': did you mean 'arrow'"),
        ((PROMPT, "--base", "no/such"), "no base model 'no/such'"),
        (
            (PROMPT, "--calibrated.top_k", "4"),
            "top_k must be between 1 and the number of experts, 3, found 4",
        ),
        (
            (PROMPT, "--arrow.top_k", "2"),
            "options of router 'arrow' are given, but it is not used: add --router arrow",
        ),
        ((PROMPT, "--calibrated.temperature", "0"), "temperature must be above 0, found 0"),
        ((PROMPT, "--temperature", "-1"), "--temperature at least 0, found 64 and -1.0"),
        ((PROMPT, "--max-new-tokens", "0"), "--max-new-tokens must be at least 1"),
        ((PROMPT, "--show-experts", "--expert", "prices"), "leave out --expert"),
        ((PROMPT, "--template", "chat"), "has no chat template"),
        ((PROMPT, "--template-args", "a=1"), "--template-args sets values of the chat template"),
        (("",), "the prompt is empty"),
    ],
)
def test_bad_input_is_refused(lorary, trained_library, words, message):
    code, output, errors = lorary("generate", trained_library, *words)
    assert (code, output) == (2, "")
    assert message in errors


def test_experts_for_another_base_are_refused(lorary, trained_library, tmp_path, build_tiny_base):
    base = build_tiny_base(seed=1)
    base.model.save_pretrained(tmp_path / "other")
    base.tokenizer.save_pretrained(tmp_path / "other")
    code, _, errors = lorary("generate", trained_library, PROMPT, "--base", str(tmp_path / "other"))
    assert code == 2
    assert "was trained on" in errors
    assert "load it with that base model" in errors


def test_an_empty_or_missing_library_is_refused(lorary, tmp_path):
    Library.open(str(tmp_path / "empty"), create=True)
    code, _, errors = lorary("generate", str(tmp_path / "empty"), PROMPT)
    assert (code, "is empty: train experts with `lorary train`" in errors) == (2, True)
    code, _, errors = lorary("generate", str(tmp_path / "nothing"), PROMPT)
    assert (code, "there is no library at" in errors) == (2, True)


def test_experts_for_several_bases_need_to_be_told_which(lorary, library, make_expert):
    library.add(replace(make_expert("elsewhere"), base_model="other-base"))
    code, _, errors = lorary("generate", library.url, PROMPT)
    assert code == 2
    assert (
        "must be for one base model, found 'other-base', 'tiny-base': choose the base model with --base"
        in errors
    )


def test_a_prompt_on_stdin_that_never_ends_is_refused(lorary, trained_library, monkeypatch):
    class Endless:
        def read(self, count):
            return "x" * count

    monkeypatch.setattr("sys.stdin", Endless())
    code, _, errors = lorary("generate", trained_library, "-")
    assert (code, "must have at most 10,000,000 characters" in errors) == (2, True)


def test_a_prompt_on_stdin_that_is_no_text_is_refused(lorary, trained_library, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    code, _, errors = lorary("generate", trained_library, "-")
    assert (code, "the prompt on stdin must be UTF-8 text" in errors) == (2, True)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", "cpu:7:8", ""])
def test_a_device_that_is_not_there_is_refused(lorary, trained_library, device):
    code, _, errors = lorary("generate", trained_library, PROMPT, f"--device={device}")
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(
        "error: --device must be a device of this machine, such as cpu or cuda:1, found "
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a prompt, or a file of prompts with --prompts, and not both"),
        ((PROMPT, "--prompts", "x"), "and not both"),
        (("--prompts", "no.txt"), "prompt file 'no.txt' does not exist: check --prompts"),
        (("--prompts", "rows.jsonl"), "must have a prompt, in one of prompt, input, instruction"),
        (("--prompts", "empty.txt"), "must have at least one prompt, found none"),
        ((PROMPT, "--top-p", "0.5"), "--top-p and --top-k choose among sampled tokens: add --temperature"),
        ((PROMPT, "--top-p", "0"), "--top-p must be above 0 and at most 1"),
        ((PROMPT, "--log", "."), "--log must be a file, found the folder '.'"),
        ((PROMPT, "--few-shot", "synthetic"), "--few-shot takes the examples of one task, found"),
        ((PROMPT, "--few-shot", "synthetic:plurals", "--shots", "0"), "--shots must be at least 1, found 0"),
        ((PROMPT, "--few-shot", "synthetic:plurals"), "--few-shot needs a template for its examples"),
    ],
)
def test_prompts_and_sampling_are_checked(lorary, trained_library, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"answer": 3}\n')
    (tmp_path / "empty.txt").write_text("\n\n")
    code, _, errors = lorary("generate", trained_library, *words)
    assert code == 2
    assert message in " ".join(errors.split())
