import json
from pathlib import Path

import pytest
import torch

from lorary.models.mix_backends import BACKENDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench_main(monkeypatch):
    """The command of ``bench``, which is no part of the installed package; it may change the threads."""
    monkeypatch.syspath_prepend(ROOT)
    from bench.command import main

    num_threads = torch.get_num_threads()
    yield main
    torch.set_num_threads(num_threads)


def test_a_benchmark_prints_its_table_and_writes_the_same_as_json(bench_main, tmp_path, capsys):
    out = tmp_path / "new" / "bench.json"
    bench_main(["mix", "--quick", "--threads", "1", "--repeats", "2", "--out", str(out)])

    report = json.loads(out.read_text())
    grid, summary, *_ = report["benches"]["mix"]
    assert {row["fastest"] for row in grid["rows"]} <= set(BACKENDS)
    assert all(row["chosen / fastest"] >= 1 for row in grid["rows"])
    assert all(row[row["fastest"]] >= 1 for row in summary["rows"])
    assert report["settings"]["repeats"] == 2
    assert report["versions"]["torch"] and report["hardware"]["torch_threads"] == 1
    assert grid["title"] in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused(bench_main, capsys):
    with pytest.raises(SystemExit):
        bench_main(["mixx"])
    assert "there is no benchmark 'mixx': choose among prototypes, routing" in capsys.readouterr().err
