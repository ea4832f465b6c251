import pytest

from lorary.experts.base_identity import BaseIdentity
from lorary.experts.base_names import BaseMatch, compare_bases, is_same_base

WEIGHTS, SETTINGS = "0123456789abcdef", "01234567"


def compare(one, other):
    found = compare_bases(BaseIdentity(one), BaseIdentity(other))
    assert compare_bases(BaseIdentity(other), BaseIdentity(one)) == found
    return found


@pytest.mark.parametrize(
    "name",
    [
        "org/tiny-model",
        "someone/Tiny-Model",
        "tiny-model",
        "/data/models/tiny-model/",
        "C:\\models\\tiny-model",
        "/home/u/.cache/huggingface/hub/models--org--tiny-model/snapshots/0123456789abcdef",
        "models--org--tiny-model",
        "models--tiny-model/snapshots/0123",
        "",
    ],
)
def test_names_of_one_model_fit_wherever_it_lies(name):
    assert compare(name, "org/tiny-model") == BaseMatch(True)


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("unsloth/tiny-model-bnb-4bit", "-bnb-4bit"),
        ("unsloth/tiny-model-unsloth-bnb-4bit", "-unsloth-bnb-4bit"),
        ("TheBloke/Tiny-Model-GPTQ", "-gptq"),
        ("TheBloke/tiny-model-AWQ", "-awq"),
        ("x/tiny-model-GPTQ-Int4", "-gptq-int4"),
    ],
)
def test_a_quantised_copy_fits_and_its_suffix_is_told(name, dropped):
    found = compare_bases(BaseIdentity(name), BaseIdentity("org/tiny-model"))
    note = (
        f"{name!r} and 'org/tiny-model' are treated as one base model: suffix {dropped!r} is that of a "
        "quantised copy"
    )
    assert found == BaseMatch(True, (note,))
    assert compare_bases(BaseIdentity("org/tiny-model"), BaseIdentity(name)).fits


@pytest.mark.parametrize(
    "name", ["org/tiny-model-2", "org/model-tiny", "tiny-model/other", "org/tiny", "org/tiny-model-instruct"]
)
def test_other_models_do_not_fit(name):
    assert compare(name, "org/tiny-model") == BaseMatch(False)


@pytest.mark.parametrize("last", ["checkpoint-500", "final", "model", "default", "1", "step_20"])
def test_a_name_that_names_nothing_fits_the_whole_path_alone(last):
    assert compare(f"out/llama/{last}", f"out/llama/{last}/") == BaseMatch(True)
    assert compare(f"out/llama/{last}", f"out/phi/{last}") == BaseMatch(False)
    assert compare(f"out/llama/{last}", last) == BaseMatch(False)
    assert compare(f"out/llama/{last}", "llama") == BaseMatch(False)


@pytest.mark.parametrize("other", [WEIGHTS + SETTINGS, WEIGHTS])
def test_fingerprints_decide_whatever_the_names(other):
    one = BaseIdentity("org/a", WEIGHTS + SETTINGS)
    assert compare_bases(one, BaseIdentity("org/b", other)) == BaseMatch(True)
    assert compare_bases(BaseIdentity("org/b", other), one) == BaseMatch(True)


@pytest.mark.parametrize("other", [WEIGHTS + "76543210", WEIGHTS[::-1] + SETTINGS, "01", WEIGHTS[::-1]])
def test_other_fingerprints_do_not_fit_whatever_the_names(other):
    one = BaseIdentity("org/a", WEIGHTS + SETTINGS)
    assert compare_bases(one, BaseIdentity("org/a", other)) == BaseMatch(False)


def test_names_decide_where_one_fingerprint_is_unknown():
    assert compare_bases(BaseIdentity("org/a", WEIGHTS), BaseIdentity("a")) == BaseMatch(True)


def test_a_user_is_told_that_a_quantised_copy_is_taken_for_its_original():
    with pytest.warns(
        UserWarning, match="are treated as one base model: suffix '-bnb-4bit' is that of a quantised copy"
    ):
        assert is_same_base(BaseIdentity("a/tiny-bnb-4bit"), BaseIdentity("b/tiny"))


@pytest.mark.parametrize(("other", "fits"), [("v2", False), ("v1", True), (None, True)])
def test_revisions_must_not_differ_unless_fingerprints_are_equal(other, fits):
    one, another = (BaseIdentity("org/base", None, revision) for revision in ("v1", other))
    assert compare_bases(one, another) == BaseMatch(fits)
    assert compare_bases(*(each._replace(fingerprint=WEIGHTS) for each in (one, another))) == BaseMatch(True)


def test_a_tag_that_may_be_a_commit_fits_and_both_are_told():
    """A tag and a commit fitted silently."""
    with pytest.warns(UserWarning, match=r"revisions 'v1' and '0{40}' of 'org/tiny' are treated as equal"):
        assert is_same_base(BaseIdentity("org/tiny", None, "v1"), BaseIdentity("tiny", None, "0" * 40))


def test_unknown_revisions_of_other_models_say_nothing():
    one, other = BaseIdentity("org/tiny", None, "v1"), BaseIdentity("org/other", None, "0" * 40)
    assert compare_bases(one, other) == BaseMatch(False)
