import os

import pytest
from safetensors import SafetensorError

from lorary.errors import LibraryError
from lorary.models.new_folder import new_folder


def test_the_folder_appears_when_it_is_full(tmp_path):
    place = tmp_path / "deep" / "model"
    with new_folder(place) as scratch:
        (scratch / "weights").write_text("1")
        assert not place.exists()
    assert (place / "weights").read_text() == "1"
    assert [path.name for path in place.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_the_folder_is_open_to_whom_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "model"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left"), KeyboardInterrupt()]
)
def test_nothing_is_left_of_what_failed(tmp_path, error):
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else LibraryError
    with pytest.raises(expected), new_folder(tmp_path / "model"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_taken_place_is_left_alone_and_an_empty_folder_is_free(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LibraryError, match=r"file' exists and is not empty: choose another"):
        new_folder(tmp_path / "file").__enter__()
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as scratch:
        (scratch / "weights").write_text("1")
    assert (tmp_path / "empty" / "weights").is_file()
