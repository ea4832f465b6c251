"""The dtype of an evaluation, from the command line."""

import pytest

from lorary.evaluation import Result


@pytest.mark.parametrize(
    ("words", "dtype"), [((), "float32"), (("--dtype", "bfloat16"), "bfloat16")], ids=["default", "bfloat16"]
)
def test_results_say_their_dtype_and_that_short_ones_depend_on_the_batch(
    lorary, tiny_base, trained_library, tmp_path, monkeypatch, words, dtype
):
    monkeypatch.setattr("lorary.models.base.default_dtype", lambda device: pytest.fail("the device chose"))
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    code, out, err = lorary(
        *("eval", trained_library, "--base", tiny_base, "--tasks", "synthetic:plurals", "--routes", "base"),
        *("--evaluation.num_examples", "2", "--out", str(tmp_path / "out"), *words),
    )
    assert code == 0 and f"measured in {dtype}" in out
    assert ("may depend on the other examples of its batch" in err) == (dtype != "float32")
    assert Result.from_json(tmp_path / "out/results.json").headers[0]["settings"]["dtype"] == dtype
    assert f"Measured in {dtype}." in (tmp_path / "out/table.md").read_text()
