import io
import json

from bench import versions


def test_a_worker_names_its_jobs_and_times_the_one_that_is_asked_for(monkeypatch, capsys):
    done = []
    monkeypatch.setattr(versions, "build_jobs", lambda: {"first": lambda: done.append(1), "second": list})
    monkeypatch.setattr("sys.stdin", io.StringIO("jobs\nfirst\nfirst\n"))
    versions.serve()
    jobs, *seconds = capsys.readouterr().out.splitlines()
    assert json.loads(jobs) == ["first", "second"]
    assert done == [1, 1]
    assert all(0 <= float(each) < 10 for each in seconds)
