import pytest

from lorary.experts import BaseIdentity
from lorary.experts.base_fingerprint import PATTERN, Fingerprint
from lorary.experts.base_names import compare_bases

FULL, SETTINGS, KEPT = "4be1" * 4, "0123abcd", "91d5" * 4
MODEL = FULL + SETTINGS
COPY = f"{'7c02' * 4}{SETTINGS}.{KEPT}.{MODEL}"
ORPHAN = f"{'7c02' * 4}{SETTINGS}.{KEPT}"
NAME = "org/model"


def compare(one, other, *, names=(NAME, NAME), kept=(None, None)):
    sides = zip(names, (one, other), kept, strict=True)
    ours, theirs = (BaseIdentity(name, text, None, own) for name, text, own in sides)
    match, back = compare_bases(ours, theirs), compare_bases(theirs, ours)
    assert match.fits == back.fits and len(match.notes) == len(back.notes)
    return match


@pytest.mark.parametrize("text", [MODEL, COPY, ORPHAN])
def test_a_fingerprint_is_read_and_written(text):
    assert Fingerprint.parse(text).text == text
    assert PATTERN.fullmatch(text)
    assert Fingerprint.parse(text).is_quantised == (text != MODEL)


@pytest.mark.parametrize("text", ["", ".", MODEL + ".", f"{MODEL}..{MODEL}", f"{MODEL}.xyz", COPY + ".0"])
def test_other_texts_are_no_fingerprints(text):
    assert not PATTERN.fullmatch(text)


def test_a_model_and_its_quantised_copy_fit_with_a_note():
    match = compare(MODEL, COPY, names=("org/model", "elsewhere"))
    assert match.fits
    assert match.notes == (
        "'org/model' (in full precision) and 'elsewhere' (quantised) are treated as one base model: outputs "
        "differ, since quantisation rounds weights",
    )


def test_the_copy_of_another_model_does_not_fit_whatever_its_name():
    assert not compare("0" * 24, COPY).fits


def test_two_copies_of_one_model_fit():
    other = f"{'aaaa' * 4}{SETTINGS}.{KEPT}.{MODEL}"
    assert compare(COPY, other) == compare(COPY, COPY) == (True, ())
    assert compare(COPY, ORPHAN).notes == ()  # the same weights


def test_weights_that_quantisation_keeps_tell_a_copy_whose_original_is_unknown():
    names = ("org/model", "org/other")
    assert compare(MODEL, ORPHAN, names=names, kept=(KEPT, None)).fits
    assert "as their embeddings and norms" in compare(MODEL, ORPHAN, kept=(KEPT, None)).notes[0]
    assert not compare(MODEL, ORPHAN, kept=("0" * 16, None)).fits
    assert not compare(f"{FULL}{'0' * 8}", ORPHAN, kept=(KEPT, None)).fits


def test_without_them_names_and_settings_decide():
    match = compare(MODEL, ORPHAN, names=("meta/llama-3", "unsloth/Llama-3-bnb-4bit"))
    assert match.fits and "no hash of weights shows it" in match.notes[0]
    assert not compare(MODEL, ORPHAN, names=("org/model", "org/other")).fits
    assert not compare(f"{FULL}{'0' * 8}", ORPHAN).fits
