"""Files that grow by whole lines."""

from lorary.files import append_line


def test_lines_are_added_below_what_is_there_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    append_line(path, "é")
    append_line(str(path), "b")
    assert path.read_bytes() == "é\nb\n".encode()
