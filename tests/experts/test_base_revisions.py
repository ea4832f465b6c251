import os

import huggingface_hub
import pytest

from lorary.errors import IncompatibleExpert
from lorary.experts.base_identity import BaseIdentity, find_path_commit, read_identity
from lorary.experts.base_revisions import Agreement, agree_on_revision, compare_revisions

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
SAME, DIFFERENT, UNKNOWN = Agreement.SAME, Agreement.DIFFERENT, Agreement.UNKNOWN


@pytest.fixture(autouse=True)
def refs(tmp_path, monkeypatch):
    """A folder of downloads that knows which commit a tag of ``org/base`` is; the folder of its tags."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--base" / "refs"
    (folder / "refs/pr").mkdir(parents=True)
    for name, commit in {"v1": COMMIT, "v1.0": COMMIT, "v2": OTHER, "refs/pr/3": OTHER}.items():
        (folder / name).write_text(commit + "\n")
    return folder


def compare(one, other, name="org/base"):
    identities = [BaseIdentity(name, None, revision) for revision in (one, other)]
    found = compare_revisions(*identities)
    assert compare_revisions(*reversed(identities)) is found
    return found


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (COMMIT, COMMIT[:7], SAME),
        (COMMIT, OTHER, DIFFERENT),
        ("new", "new", SAME),
        ("new", "newer", DIFFERENT),
        ("v1", None, UNKNOWN),
        (None, None, UNKNOWN),
        ("new", COMMIT, UNKNOWN),
        # Known from downloads:
        ("v1", COMMIT, SAME),
        ("v1", COMMIT[:9], SAME),
        ("v1", OTHER, DIFFERENT),
        ("v1", "v1.0", SAME),
        ("v1", "v2", DIFFERENT),
        ("v1", "new", DIFFERENT),
        ("refs/pr/3", OTHER, SAME),
    ],
)
def test_revisions_are_compared_as_far_as_they_are_known(one, other, expected):
    assert compare(one, other) is expected


@pytest.mark.parametrize("name", ["org/base", "/other/hub/models--org--base/snapshots/" + COMMIT])
def test_the_downloads_of_either_name_tell_what_a_tag_is(name):
    assert compare("v1", COMMIT, name) is SAME
    assert compare_revisions(BaseIdentity("mine", None, "v1"), BaseIdentity(name, None, COMMIT)) is SAME


@pytest.mark.parametrize("name", ["org/unknown", "base", "", "/a/b/base", "a\0b", "../.."])
def test_of_other_names_nothing_is_known(name):
    assert compare("v1", COMMIT, name) is UNKNOWN


@pytest.mark.parametrize("revision", ["../refs/v1", "./v1", "/v1", "v1/", "a\0b", "..", "refs"])
def test_a_revision_that_is_no_name_of_a_ref_opens_no_file(revision):
    assert compare(revision, COMMIT) is UNKNOWN


def test_only_a_regular_file_with_a_commit_is_believed(refs):
    (refs / "long").write_text("0" * 10_000)
    (refs / "text").write_bytes(b"\xff\xfe no commit")
    (refs / "link").symlink_to(refs / "v1")
    os.mkfifo(refs / "pipe")
    for name in ("long", "text", "link", "pipe"):
        assert compare(name, COMMIT) is UNKNOWN


def test_the_default_branch_is_no_revision():
    """It moves: which commit it was is not known."""
    assert read_identity("org/base", None, "main") == BaseIdentity("org/base")
    assert read_identity("org/base", "00", "v1") == BaseIdentity("org/base", "00", "v1")


@pytest.mark.parametrize(
    ("name", "commit"),
    [
        (f"/hub/models--org--base/snapshots/{COMMIT}", COMMIT),
        (f"C:\\hub\\models--org--base\\snapshots\\{COMMIT}\\", COMMIT),
        ("/hub/models--org--base/snapshots/latest", None),
        (f"/hub/base/snapshots/{COMMIT}", None),
        ("models--org--base", None),
        ("org/base", None),
    ],
)
def test_a_download_has_its_commit_in_its_path(name, commit):
    assert find_path_commit(name) == commit


def make_bases(**revisions):
    return {name: BaseIdentity("org/base", None, revision) for name, revision in revisions.items()}


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        ({"a": None, "b": None}, None),
        ({"a": "v1", "b": None}, "v1"),
        ({"a": "v1", "b": COMMIT}, COMMIT),
        ({"a": "new", "b": COMMIT[:7], "c": COMMIT}, COMMIT),
        ({"a": "v1", "b": "v1.0"}, "v1"),
    ],
)
def test_experts_agree_on_a_revision(revisions, expected):
    assert agree_on_revision(make_bases(**revisions)) == expected


@pytest.mark.parametrize(("one", "other"), [("v1", "v2"), ("v1", OTHER), ("new", "newer"), (COMMIT, OTHER)])
def test_experts_of_different_revisions_are_refused_unless_fingerprints_are_equal(one, other):
    bases = make_bases(a=one, b=None, c=other)
    with pytest.raises(IncompatibleExpert, match=f"'a' for '{one}' and 'c' for '{other}'"):
        agree_on_revision(bases)
    alike = {name: base._replace(fingerprint="0" * 16) for name, base in bases.items()}
    assert agree_on_revision(alike) is None
