import os
import stat
from pathlib import Path

import pytest

from lorary.files import open_cache_folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "above" / "cache"))
    return tmp_path / "above" / "cache"


def test_the_environment_names_the_folder(place, tmp_path, monkeypatch):
    assert open_cache_folder() == place
    assert open_cache_folder("part") == place / "part"
    monkeypatch.delenv("LORARY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_cache_folder() == tmp_path / "home" / ".cache" / "lorary"


def test_looking_makes_no_folder(place):
    for part in ("", "part"):
        with pytest.raises(FileNotFoundError):
            open_cache_folder(part, make=False)
    assert not place.exists()
    open_cache_folder("part")
    assert open_cache_folder("part", make=False) == place / "part"


def test_a_cache_folder_is_its_owners_alone(place):
    (place / "part").mkdir(mode=0o777, parents=True)
    for folder in (open_cache_folder(), open_cache_folder("part"), open_cache_folder("new")):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_of_the_users_own_leads_to_the_folder(place):
    """Guards a refusal: homes on clusters link their caches to larger disks."""
    target = place.parent / "target"
    target.mkdir(parents=True)
    place.symlink_to("target")
    assert open_cache_folder() == target.resolve()
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    (target / "part").symlink_to(Path("..", "elsewhere"))
    (place.parent / "elsewhere").mkdir()
    with pytest.raises(PermissionError, match="must be this user's own"):
        open_cache_folder("part")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_a_link_of_another_users_is_refused(place):
    (place.parent / "target").mkdir(parents=True)
    place.symlink_to("target")
    os.lchown(place, 12345, 12345)
    with pytest.raises(PermissionError, match="must be this user's own: set LORARY_CACHE"):
        open_cache_folder()


def test_another_users_folder_is_no_cache_folder(place, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="this user's own: set LORARY_CACHE"):
        open_cache_folder("part")
