"""The protocols that come with lorary: whole at their smallest scale, and their plan at the real one."""

import json
import shlex

import pytest

from lorary.cli.protocols.resolve import resolve
from lorary.cli.protocols.results import MEAN, read_cells
from lorary.cli.protocols.shipped import find_protocol, list_shipped
from lorary.evaluation import Result

NAMES = list(list_shipped())
# Hours on an A100 that are plausible; outside of it a number in the file is wrong.
HOURS = {
    "mhr-t0": (3, 300),
    "mistral-flan256": (100, 5000),
    "phatgoose-t0": (20, 2000),
    "phi2-flan256": (50, 3000),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_runs_whole_at_its_smallest_scale(lorary, tmp_path, name, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    code, output, errors = lorary("run", name, "--scale", "tiny", "--out", str(out))
    assert code == 0, errors
    protocol = find_protocol(name)
    ready = resolve(protocol, "tiny", out, data=None, given={})
    for stage in ready.stages:
        assert f"  lorary {shlex.join(stage.words)}" in errors
    assert "its results have no meaning" in output
    # Every row is a mean of results that are there.
    cells = read_cells(ready)
    assert [cell.row for cell in cells if cell.task == MEAN] == [row.row for row in protocol.table]
    for row in protocol.table:
        result = Result.from_json(out / row.stage / "results.json")
        assert row.route in result.routes
        table = (out / "table.md").read_text()
        assert row.row in table
        # A published number is shown with its source, and has one.
        for task, number in row.published.items():
            assert any(
                f"| {row.row} | {task} |" in line and f" {number:.1f} | – |" in line
                for line in table.splitlines()
            )
            assert row.source
            assert row.source.partition(" (")[0] in output
    # Again: no stage runs.
    code, output, errors = lorary("run", name, "--scale", "tiny", "--out", str(out), "--json")
    assert code == 0, errors
    assert errors.count("done before") == len(ready.stages)
    assert len(json.loads(output)["table"]) == len(cells)


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_of_the_real_experiment_is_checked_and_plausible(lorary, tmp_path, name):
    words = ("run", name, "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--dry-run")
    code, output, errors = lorary(*words, "--json")
    assert code == 0, errors
    stages = json.loads(output)["stages"]
    low, high = HOURS[name]
    assert low < sum(stage["hours"] for stage in stages) < high
    assert max(stage["memory"] for stage in stages) < 80e9
    assert all(stage["command"].startswith("lorary ") for stage in stages)
    assert not (tmp_path / "run").exists()
    code, output, _ = lorary(*words)
    assert code == 0
    for stage in stages:
        assert stage["command"] in output


def test_the_real_experiment_needs_data_and_leave_to_run_code(lorary, tmp_path):
    code, _, errors = lorary("run", "phi2-flan256", "--out", str(tmp_path / "run"))
    assert code == 2
    assert "scale full: it reads your data: name their folder with --data FOLDER" in errors
    assert errors.count("--data") == 1
    code, _, errors = lorary("run", "phi2-flan256", "--out", str(tmp_path / "run"), "--data", str(tmp_path))
    assert code == 2
    assert "runs programs written by the model, in a sandbox: allow it with --allow-code" in errors


def test_without_a_protocol_the_known_ones_are_listed(lorary):
    code, output, _ = lorary("run")
    assert code == 0
    assert all(name in output and find_protocol(name).paper in output for name in NAMES)
    assert [each["name"] for each in json.loads(lorary("run", "--json")[1])] == NAMES
