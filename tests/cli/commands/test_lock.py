import json

from lorary.library import Library


def test_a_lock_is_written_and_a_library_made_of_it(lorary, library, tmp_path):
    lock, same = str(tmp_path / "lorary.lock"), str(tmp_path / "same")
    code, output, _ = lorary("lock", library.url, "--out", lock, "--router", "arrow", "--arrow.top_k", "2")
    assert code == 0 and "locked 3 experts of tiny-base and router arrow in " in output
    assert json.loads((tmp_path / "lorary.lock").read_text())["router"]["options"]["top_k"] == 2
    code, output, _ = lorary("sync", lock, "--sources", library.url, "--out", same)
    assert code == 0 and "equals the lock file, bit for bit: 3 experts copied, 0 already there" in output
    assert output.splitlines()[-1] == f"next: lorary generate {same} PROMPT --router arrow --arrow.top_k 2"
    del Library.open(same)["sql"]
    code, output, _ = lorary("sync", lock, "--out", same)
    assert code == 1 and "expert sql" in output and "in no source" in output and "1 difference" in output
    code, output, _ = lorary("sync", lock, "--out", same, "--json")
    assert code == 1 and json.loads(output)["differences"][0]["what"] == "expert sql"


def test_the_base_model_is_compared_if_it_is_here(lorary, trained_library, tiny_base, tmp_path):
    lock, same = tmp_path / "lorary.lock", str(tmp_path / "same")
    library = Library.open(trained_library)
    copy = Library.open(same, create=True)
    for name, expert in library.items():
        copy[name] = expert.with_base(tiny_base, fingerprint="0" * 24)
    assert lorary("lock", same, "--out", str(lock))[0] == 0
    code, output, _ = lorary("sync", str(lock), "--out", same, "--json")
    (difference,) = json.loads(output)["differences"]
    assert code == 1 and difference["what"] == f"base model {tiny_base}" and difference["locked"] == "0" * 24


def test_options_that_were_tuned_for_the_library_are_locked_and_made_again(lorary, library, tmp_path):
    library.tune("calibrated", {"margin": 0.25})
    lock, same = str(tmp_path / "lorary.lock"), str(tmp_path / "same")
    code, output, errors = lorary("lock", library.url, "--out", lock, "--json")
    assert code == 0 and json.loads(output)["router"]["options"]["margin"] == 0.25
    assert "with options tuned for this library" in errors
    assert lorary("sync", lock, "--sources", library.url, "--out", same)[0] == 0
    assert Library.open(same).tuned("calibrated") == {"margin": 0.25}


def test_no_router_can_be_locked_too(lorary, library, tmp_path):
    code, output, _ = lorary(
        "lock", library.url, "--out", str(tmp_path / "x.lock"), "--router", "none", "--json"
    )
    assert code == 0 and json.loads(output)["router"] is None
