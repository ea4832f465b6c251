import json
from datetime import datetime
from pathlib import Path

import torch

from lorary.evaluation.run_header import describe_run


def test_a_header_is_plain_json_and_says_what_ran(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/somebody/bin/lorary", "eval", "--tasks", "two words"])
    header = describe_run(seeds={"data": 3}, settings={"top_k": 4, "folder": Path("lib")})
    assert json.loads(json.dumps(header)) == header
    assert header["command"] == "lorary eval --tasks 'two words'"
    assert header["seeds"] == {"data": 3}
    assert header["settings"] == {"top_k": 4, "folder": "lib"}


def test_a_header_knows_versions_hardware_and_the_hour():
    header = describe_run(seeds={}, settings={})
    assert header["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert header["hardware"]["torch_threads"] == torch.get_num_threads()
    assert header["hardware"]["cpu_count"] >= 1
    assert header["hardware"]["processor"]
    assert datetime.fromisoformat(header["date"]).tzinfo is not None
