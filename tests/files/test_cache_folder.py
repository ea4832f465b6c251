import os
import stat

import pytest

from lorary.files import find_cache_folder, make_private_folder


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    assert find_cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LORARY_CACHE")
    assert find_cache_folder().parts[-2:] == (".cache", "lorary")


def test_a_private_folder_is_its_owners_alone(tmp_path):
    (tmp_path / "open").mkdir(mode=0o777)
    for folder in (tmp_path / "a" / "new", tmp_path / "open"):
        assert make_private_folder(folder) == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_of_the_users_own_leads_to_the_folder(tmp_path):
    """Guards a refusal: homes on clusters link their caches to larger disks."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    assert make_private_folder(tmp_path / "link", follow=True) == (tmp_path / "target").resolve()
    with pytest.raises(PermissionError, match="must be this user's own"):
        make_private_folder(tmp_path / "link")
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_a_link_of_another_users_is_refused(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    os.lchown(tmp_path / "link", 12345, 12345)
    with pytest.raises(PermissionError, match="must be this user's own: set LORARY_CACHE"):
        make_private_folder(tmp_path / "link", follow=True)


def test_another_users_folder_is_no_private_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="this user's own: set LORARY_CACHE"):
        make_private_folder(tmp_path / "new")
