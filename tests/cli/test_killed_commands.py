"""Commands whose process was killed go on where they were, and end with the same results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorary.evaluation import Result
from tests.benchmark_rows import write_benchmarks

PROTOCOL = {
    "protocol": 1,
    "title": "Two experts",
    "paper": "none",
    "scales": {
        "tiny": {
            "model": "llama",
            "sizes": {"parameters": 15000, "layers": 2, "hidden": 16, "width": 256},
            "values": {"tasks": ["synthetic:plurals", "synthetic:prices"]},
        }
    },
    "stages": {
        "train": {
            "does": "Train",
            "command": "lorary train {out}/library --tasks {tasks} --base {base} --training.rank 2 "
            "--training.max_steps 4 --training.batch_size 2 --training.checkpoint_seconds 0",
            "makes": ["{out}/library"],
        },
        "measure": {
            "does": "Measure",
            "needs": ["train"],
            "command": "lorary eval {out}/library --tasks {tasks} --routes base,uniform --metrics loss "
            "--evaluation.num_examples 8 --evaluation.tokens_per_pass 200 --out {out}/measure",
            "makes": ["{out}/measure/results.json"],
        },
    },
    "table": [
        {"row": row, "stage": "measure", "route": row, "metric": "loss"} for row in ("base", "uniform")
    ],
}


def run_scenarios(place, words, moments_of):
    """Run a command undisturbed, and with kills; returns what was logged: scenario -> (what, number)."""
    scenarios = {name: {"words": words, "moments": moments} for name, moments in moments_of.items()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.killed_commands", str(place), json.dumps(scenarios)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = {name: (place / f"{name}.log").read_text().split("\n")[:-1] for name in scenarios}
    return {
        name: [(kind, int(number)) for kind, _, number in (line.partition(" ") for line in own)]
        for name, own in lines.items()
    }


def count(log, what):
    return sum(number for kind, number in log if kind == what)


def read_scores(path):
    return {
        (*key, place): value
        for key, values in Result.from_json(path).scores.items()
        for place, value in enumerate(values)
    }


def test_a_killed_evaluation_repeats_at_most_a_batch_and_ends_with_the_same_numbers(
    tmp_path, trained_library
):
    words = ["eval", trained_library, "--harness", "arc_easy,gsm8k", "--routes", "base,calibrated"]
    words += ["--data", str(write_benchmarks(tmp_path / "data")), "--out", "{out}"]
    words += ["--evaluation.tokens_per_pass", "400", "--evaluation.batch_size", "2"]
    words += ["--lm_eval.max_new_tokens", "5"]
    moments = {"whole": [], "killed": [["batch", 2], ["kept", 3]]}
    logs = run_scenarios(tmp_path, words, moments)
    whole, killed = logs.values()
    scores = [read_scores(tmp_path / name / "results.json") for name in moments]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    # Each answer was stored once; only the batch that was lost was computed again.
    assert count(killed, "kept") == count(whole, "kept") == count(whole, "batch")
    largest = max(number for kind, number in whole if kind == "batch")
    assert 0 < count(killed, "batch") - count(killed, "kept") <= largest


def test_a_killed_protocol_goes_on_within_the_stage_and_ends_with_the_same_table(tmp_path):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(PROTOCOL, sort_keys=False))
    words = ["run", str(tmp_path / "own.yaml"), "--scale", "tiny", "--out", "{out}"]
    moments = {"whole": [], "killed": [["step", 2], ["batch", 2]]}
    logs = run_scenarios(tmp_path, words, moments)
    scores = [read_scores(tmp_path / name / "measure/results.json") for name in moments]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    tables = [(tmp_path / name / "table.md").read_text() for name in moments]
    assert tables[0] == tables[1]
    whole, killed = logs["whole"], logs["killed"]
    assert count(killed, "kept") == count(whole, "kept")
    steps = [[number for kind, number in log if kind == "step"] for log in (whole, killed)]
    assert len(steps[0]) <= len(steps[1]) <= len(steps[0]) + 1
