import shutil
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import BaseModelError, IncompatibleExpert
from lorary.models import hub, load_base
from lorary.models.check_base import check_base
from lorary.models.hub import PATIENCE_S, locate_hub_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty folder of earlier downloads."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """A hub that answers; lists what it was asked."""
    found = []
    session = SimpleNamespace(head=lambda url, timeout: found.append((url, timeout)))
    monkeypatch.setattr(hub, "get_session", lambda: session)
    return found


@pytest.fixture
def downloaded(cache, llama, tokenizer):
    """A model that was downloaded while the hub could be reached."""
    snapshot = cache / "models--org--tiny" / "snapshots" / COMMIT
    llama.save_pretrained(snapshot)
    tokenizer.save_pretrained(snapshot)
    refs = cache / "models--org--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    return snapshot


def test_where_the_hub_answers_it_is_asked_once_and_the_id_stands(asked):
    assert locate_hub_model("org/tiny", None) == ("org/tiny", None)
    assert asked == [(huggingface_hub.constants.ENDPOINT, PATIENCE_S)]


def test_a_model_that_was_downloaded_before_loads_without_the_hub(downloaded, llama, compute_logits):
    for revision in (None, "main", COMMIT):
        base = load_base("org/tiny", revision=revision, dtype=torch.float32, device="cpu")
        assert torch.equal(compute_logits(base.model), compute_logits(llama))
        assert (base.name, base.revision) == ("org/tiny", COMMIT)


@pytest.fixture
def tagged(downloaded):
    """Another commit of it, by its tag."""
    other = downloaded.with_name("f" * 40)
    shutil.copytree(downloaded, other)
    (downloaded.parents[1] / "refs" / "v1").write_text("f" * 40)
    return other


def test_an_expert_of_a_revision_loads_that_or_is_refused(tagged, llama, make_expert):
    experts = {"a": replace(make_expert(llama, "a", base_revision="v1"), base_model="org/tiny")}
    model = load_model("org/tiny", experts, router=None, dtype=torch.float32, device="cpu")
    assert (model.base.revision, model.base.asked_revision) == ("f" * 40, "v1")
    message = r"'a' was trained on 'org/tiny', .*\(revision 'v1', not 'main'\): load it with revision='v1'"
    main = load_base("org/tiny", dtype=torch.float32, device="cpu")
    with pytest.raises(IncompatibleExpert, match=message):
        check_base(main, experts["a"])
    with pytest.raises(IncompatibleExpert, match=message):
        load_model("org/tiny", experts, router=None, revision="main", dtype=torch.float32, device="cpu")


def test_the_folder_of_a_download_has_its_revision_in_its_path(tagged, llama, make_expert):
    base = load_base(str(tagged), dtype=torch.float32, device="cpu")
    assert (base.revision, base.asked_revision) == ("f" * 40, None)
    expert = make_expert(llama, "a").with_base("org/tiny", revision="v1")
    check_base(base, expert)
    with pytest.raises(IncompatibleExpert, match=f"revision '{COMMIT}', not '{'f' * 40}'"):
        check_base(base, expert.with_base("org/tiny", revision=COMMIT))


def test_a_copy_of_a_download_has_no_revision_which_is_told(tagged, llama, make_expert, tmp_path):
    shutil.copytree(tagged, tmp_path / "tiny")
    experts = {name: make_expert(llama, name).with_base("org/tiny", revision="v1") for name in "ab"}
    with pytest.warns(UserWarning, match=r"tiny' is treated as revision 'v1' of 'org/tiny'") as told:
        load_model(str(tmp_path / "tiny"), experts, router=None, dtype=torch.float32, device="cpu")
    assert len(told) == 1
    experts["b"] = experts["b"].with_base("org/tiny", revision="v2")
    with pytest.raises(IncompatibleExpert, match="must be for one revision of their base model"):
        load_model(str(tmp_path / "tiny"), experts, router=None, dtype=torch.float32, device="cpu")


def test_experts_of_two_revisions_are_refused_by_name(tagged, llama, make_expert):
    experts = {
        name: replace(make_expert(llama, name, base_revision=f"v{name}"), base_model="org/tiny")
        for name in "12"
    }
    with pytest.raises(
        IncompatibleExpert, match="one revision of their base model, found '1' for 'v1' and '2' for 'v2'"
    ):
        load_model("org/tiny", experts)


def test_a_local_folder_never_asks_the_hub(asked, downloaded, tmp_path):
    shutil.copytree(downloaded, tmp_path / "own")
    load_base(str(tmp_path / "own"), device="cpu")
    assert asked == []


@pytest.mark.parametrize(("name", "revision"), [("org/other", None), ("org/tiny", "v2")])
def test_a_model_that_was_never_downloaded_is_refused_at_once(downloaded, name, revision):
    message = (
        rf"no base model '{name}': .*\(https://huggingface.co does not answer, and the model was not down"
    )
    with pytest.raises(BaseModelError, match=message):
        load_base(name, revision=revision)


def test_any_error_of_the_connection_counts_as_silence(monkeypatch):
    def fail(url, timeout):
        raise RuntimeError("the HTTP library's own")

    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=fail))
    with pytest.raises(FileNotFoundError, match="does not answer"):
        locate_hub_model("org/other", None)
