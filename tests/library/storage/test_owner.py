"""Leftovers are known by machine, user and folder."""

import os
import shutil

import pytest

from lorary.library.storage import owner as room
from lorary.library.storage.opening import open_storage
from lorary.library.storage.owner import identify_owner


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lib").mkdir()
    return tmp_path / "lib"


def test_the_same_folder_has_the_same_owner_wherever_it_is_moved(folder):
    found = identify_owner(open_storage(folder))
    assert len(found) == 16 and int(found, 16) >= 0
    assert identify_owner(open_storage(folder)) == found
    (folder.parent / "link").symlink_to(folder)
    assert identify_owner(open_storage(folder.parent / "link")) == found
    assert identify_owner(open_storage(folder.rename(folder.parent / "moved"))) == found


def test_a_copy_another_user_and_another_machine_are_others(folder, monkeypatch):
    owners = [identify_owner(open_storage(folder))]
    shutil.copytree(folder, folder.parent / "copy")
    owners.append(identify_owner(open_storage(folder.parent / "copy")))
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        owners.append(identify_owner(open_storage(folder)))
    with monkeypatch.context() as patch:
        patch.setattr(room, "_read_machine", lambda: "another")
        owners.append(identify_owner(open_storage(folder)))
    assert len(set(owners)) == 4


def test_a_machine_without_an_id_goes_by_its_name(monkeypatch):
    monkeypatch.setattr(room, "MACHINE_FILES", ("/nonexistent",))
    monkeypatch.setattr(room.platform, "node", lambda: "by-name")
    room._read_machine.cache_clear()
    assert room._read_machine() == "by-name"
    room._read_machine.cache_clear()


def test_a_storage_that_is_no_disk_has_an_owner_by_its_path():
    assert identify_owner(open_storage("memory://one")) != identify_owner(open_storage("memory://two"))
