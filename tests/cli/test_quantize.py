"""A library on a quantised base model, from the command line."""

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("bitsandbytes")


def test_a_library_is_trained_measured_asked_and_folded_on_a_quantised_base(
    lorary, tiny_base, write_rows, tmp_path, monkeypatch
):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    tasks = [write_rows("poetry.jsonl"), write_rows("sql.jsonl", start=50)]
    library = str(tmp_path / "lib")
    # The processor's default dtype may be bfloat16: weights rounded to that have other 4-bit copies.
    quantize = ("--base", tiny_base, "--quantize", "4bit", "--dtype", "float32")
    sizes = ("--training.max_steps", "2", "--training.rank", "2")
    assert lorary("train", library, "--tasks", *tasks, *quantize, *sizes)[0] == 0
    # Known by its content: trained on the quantised base, and not on the full one.
    code, out, err = lorary("train", library, "--tasks", *tasks, *quantize, *sizes)
    assert code == 0 and "nothing to train" in (out + err).lower()
    code, out, err = lorary("train", library, "--tasks", *tasks, "--base", tiny_base, *sizes)
    assert code == 2 and "fingerprint" in err

    code, out, err = lorary("eval", library, "--tasks", *tasks, *quantize, "--routes", "base,arrow,oracle")
    assert code == 0 and "warning" not in err and "oracle" in out
    code, out, err = lorary(
        *("generate", library, "poetry 3", "--expert", "poetry", *quantize, "--max-new-tokens", "3")
    )
    assert code == 0 and "warning" not in err
    with pytest.warns(UserWarning, match="treated as one base model: outputs differ"):
        code, _, _ = lorary(
            *(
                "generate",
                library,
                "poetry 3",
                "--expert",
                "poetry",
                "--base",
                tiny_base,
                "--max-new-tokens",
                "3",
            )
        )
    assert code == 0

    with pytest.warns(UserWarning, match="folding dequantises 14 layers"):
        code, _, _ = lorary(
            *("export", library, "poetry", "--fold", *quantize, "--out", str(tmp_path / "folded"))
        )
    assert code == 0 and (tmp_path / "folded" / "model.safetensors").exists()


def test_a_built_model_keeps_its_quantization(lorary, tiny_base, trained_library, tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    out = str(tmp_path / "model")
    code, _, err = lorary(
        *(
            "build",
            trained_library,
            "--base",
            tiny_base,
            "--quantize",
            "8bit",
            "--router",
            "arrow",
            "--out",
            out,
        )
    )
    assert code == 0, err
    code, _, err = lorary("generate", out, "plural", "--max-new-tokens", "2", "--quantize", "4bit")
    assert code == 2 and "a built model has its own base model" in err
    assert lorary("generate", out, "plural", "--max-new-tokens", "2")[0] == 0


def test_an_unknown_quantization_is_refused(lorary, trained_library):
    code, _, err = lorary("generate", trained_library, "x", "--quantize", "5bit")
    assert code == 2 and "4bit" in err and "torchao-8bit" in err
