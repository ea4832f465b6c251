"""An expert and a loaded base model: names, fingerprints, revisions, and overriding them."""

import warnings
from dataclasses import replace

import huggingface_hub
import pytest

from lorary.errors import IncompatibleExpert
from lorary.models import wrap_base
from lorary.models.check_base import check_base

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


@pytest.fixture
def base(llama, tokenizer):
    return wrap_base(llama, tokenizer, name="org/Tiny")


@pytest.fixture
def expert(base, make_expert):
    return replace(make_expert(base.model), base_model="org/Tiny")


@pytest.fixture
def refs(tmp_path, monkeypatch):
    """A folder of downloads that knows which commit ``v1`` of the base model is."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--Tiny" / "refs"
    folder.mkdir(parents=True)
    (folder / "v1").write_text(COMMIT)


@pytest.mark.parametrize("name", ["org/Tiny", "tiny", "/home/someone/models/tiny/", ""])
def test_an_expert_without_fingerprint_is_known_by_the_end_of_its_bases_name(base, expert, name):
    check_base(base, replace(expert, base_model=name))


def test_equal_fingerprints_fit_whatever_names_and_revisions(base, expert):
    base = replace(base, revision=COMMIT)
    for known in (base.fingerprint, base.fingerprint[:16]):
        check_base(base, expert.with_base("org/other", revision=OTHER, fingerprint=known))


@pytest.mark.parametrize(
    ("wanted", "commit", "asked"),
    [
        (None, COMMIT, "main"),
        ("main", None, None),
        (COMMIT, COMMIT, "main"),
        (COMMIT[:8], COMMIT, None),
        ("v2", OTHER, "v2"),
        ("v1", COMMIT, "main"),  # a download tells which commit v1 is
        ("v1", COMMIT, None),
    ],
)
def test_an_expert_of_the_loaded_revision_fits_silently(base, expert, refs, wanted, commit, asked):
    check_base(
        replace(base, revision=commit, asked_revision=asked), expert.with_base("Tiny", revision=wanted)
    )


@pytest.mark.parametrize(
    ("wanted", "commit", "asked", "found"),
    [
        (OTHER, COMMIT, None, COMMIT),
        (OTHER, COMMIT, "main", "main"),
        ("v2", COMMIT, "main", "main"),
        ("v2", COMMIT, "v1", "v1"),
        ("v1", OTHER, None, OTHER),  # a download tells which commit v1 is
        ("v1", OTHER, "main", "main"),
    ],
)
def test_an_expert_of_another_revision_is_refused_with_both(base, expert, refs, wanted, commit, asked, found):
    message = (
        rf"\(revision '{wanted}', not '{found}'\): load it with revision='{wanted}' of that base model; if"
    )
    with pytest.raises(IncompatibleExpert, match=message):
        check_base(
            replace(base, revision=commit, asked_revision=asked),
            expert.with_base("org/Tiny", revision=wanted),
        )


@pytest.mark.parametrize("asked", [None, COMMIT])
def test_a_tag_that_may_be_the_loaded_commit_is_told_once_for_all_experts(base, expert, asked):
    """It fitted silently."""
    tagged = expert.with_base("org/Tiny", revision="v2")
    with pytest.warns(
        UserWarning, match=f"revisions 'v2' and '{COMMIT}' of 'org/Tiny' are treated as equal"
    ) as told:
        check_base(
            replace(base, revision=COMMIT, asked_revision=asked),
            tagged,
            tagged.rename("b"),
            tagged.rename("c"),
        )
    assert len(told) == 1


@pytest.mark.parametrize("revision", ["v1", COMMIT])
def test_a_base_without_revision_is_told_once_for_all_experts(base, expert, revision):
    """A local folder passed silently for any revision."""
    of_revision = expert.with_base("org/Tiny", revision=revision)
    message = f"'org/Tiny' is treated as revision '{revision}' of 'org/Tiny', which experts were trained on"
    with pytest.warns(UserWarning, match=message) as told:
        check_base(base, of_revision, of_revision.rename("b"))
    assert len(told) == 1


def test_experts_of_two_revisions_are_refused_on_a_base_without_one(base, expert):
    experts = [expert.with_base("Tiny", revision=name).rename(name) for name in ("v1", "v2")]
    with pytest.raises(
        IncompatibleExpert, match="for one revision of their base model, found 'v1' for 'v1' and 'v2'"
    ):
        check_base(base, *experts)
    known = [each.with_base("Tiny", revision=each.name, fingerprint=base.fingerprint) for each in experts]
    check_base(base, *known)


def test_an_expert_for_another_base_is_refused_with_the_ways_out(base, expert):
    message = (
        r"'poetry' was trained on 'org/base', this model is 'org/Tiny': load it with that base model; if "
        r"both are the same model, trust_base=True or --trust-base accepts the expert"
    )
    with pytest.raises(IncompatibleExpert, match=message):
        check_base(base, replace(expert, base_model="org/base"))


def test_another_fingerprint_is_refused_even_under_the_same_name(base, expert):
    message = (
        rf"this model is 'org/Tiny' \(fingerprint 0123456789abcdef, not {base.fingerprint}\): load it with "
        "the version of that base model that it was trained on"
    )
    with pytest.raises(IncompatibleExpert, match=message):
        check_base(base, expert.with_base("org/Tiny", fingerprint="0123456789abcdef"))


@pytest.mark.parametrize(
    ("other", "marks"),
    [
        ({"base_model": "org/base"}, ""),
        ({"base_model": "org/Tiny", "fingerprint": "0" * 16}, " (fingerprint 0000000000000000, not "),
        ({"base_model": "org/Tiny", "revision": OTHER}, f" (revision '{OTHER}', not '{COMMIT}')"),
    ],
)
def test_a_trusted_base_is_told_what_was_overridden(base, expert, other, marks):
    base = replace(base, revision=COMMIT)
    misfit = expert.with_base(**other)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_base(base, misfit, expert, misfit.rename("b"), trust=True)
    (message,) = (str(each.message) for each in told)
    assert f"'poetry' was trained on '{other['base_model']}', this model is 'org/Tiny'{marks}" in message
    assert "(and 1 more expert of another base model): accepted" in message
    assert message.endswith("only the shapes of layers are checked")


def test_trust_says_nothing_where_it_overrides_nothing(base, expert):
    check_base(base, expert, trust=True)
