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


MOMENTS = {
    "evaluation": {"whole": [], "killed": [["batch", 2], ["kept", 3]]},
    "protocol": {"whole": [], "killed": [["step", 2], ["batch", 2]]},
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory, trained_library):
    """Runs commands undisturbed and with kills: command -> (folder, what each run did) of both."""
    place = tmp_path_factory.mktemp("killed")
    (place / "own.yaml").write_text(yaml.safe_dump(PROTOCOL, sort_keys=False))
    data = str(write_benchmarks(place / "data"))
    words = {
        "evaluation": [
            *("eval", trained_library, "--harness", "arc_easy,gsm8k", "--data", data, "--out", "{out}"),
            *("--routes", "base,calibrated", "--lm_eval.max_new_tokens", "5"),
            *("--evaluation.tokens_per_pass", "400", "--evaluation.batch_size", "2"),
        ],
        "protocol": ["run", str(place / "own.yaml"), "--scale", "tiny", "--out", "{out}"],
    }
    scenarios = {
        f"{command}-{name}": {"words": words[command], "moments": moments}
        for command, of_command in MOMENTS.items()
        for name, moments in of_command.items()
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.killed_commands", str(place), json.dumps(scenarios)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        command: [
            (place / f"{command}-{name}", read_log(place / f"{command}-{name}.log")) for name in of_command
        ]
        for command, of_command in MOMENTS.items()
    }


def read_log(path):
    lines = (line.split() for line in path.read_text().splitlines())
    return [(kind, int(number)) for kind, number in lines]


def count(log, what):
    return sum(number for kind, number in log if kind == what)


def read_scores(path):
    return {
        (*key, place): value
        for key, values in Result.from_json(path).scores.items()
        for place, value in enumerate(values)
    }


def test_a_killed_evaluation_repeats_at_most_a_batch_and_ends_with_the_same_numbers(logs):
    (out, whole), (killed_out, killed) = logs["evaluation"]
    scores = [read_scores(folder / "results.json") for folder in (out, killed_out)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    # Each answer was stored once; only the batch that was lost was computed again.
    assert count(killed, "kept") == count(whole, "kept") == count(whole, "batch")
    largest = max(number for kind, number in whole if kind == "batch")
    assert 0 < count(killed, "batch") - count(killed, "kept") <= largest


def test_a_killed_protocol_goes_on_within_the_stage_and_ends_with_the_same_table(logs):
    (out, whole), (killed_out, killed) = logs["protocol"]
    scores = [read_scores(folder / "measure/results.json") for folder in (out, killed_out)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    assert (out / "table.md").read_text() == (killed_out / "table.md").read_text()
    assert count(killed, "kept") == count(whole, "kept")
    steps = [[number for kind, number in log if kind == "step"] for log in (whole, killed)]
    assert len(steps[0]) <= len(steps[1]) <= len(steps[0]) + 1
