"""The hostile-file contract: every reader withstands every kind of input. ``make fuzz`` tries more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.readers import READERS
from tests.hostile.trial import Outcome
from tests.hostile.work import describe

ROOT = Path(__file__).parents[2]
SEED = 0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of every kind, once for every reader, in a process that has run nothing else."""
    path = tmp_path_factory.mktemp("hostile") / "outcomes.json"
    command = [sys.executable, "-m", "tests.hostile", "--seed", str(SEED), "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    assert path.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", READERS)
def test_a_reader_refuses_what_is_hostile_or_makes_sense_of_it(name, outcomes):
    found = [Outcome(**record) for record in outcomes[name]]
    assert found
    assert [describe(name, outcome, SEED) for outcome in found if outcome.verdict == "finding"] == []
