"""The regimes of earlier research code, as docs/adaptation.md has them: each is a command that runs."""

import json
import re
from pathlib import Path

import pytest

from lorary.experts.skills import make_skill_set
from lorary.library import Library
from lorary.library.skills import store_skills

PAGE = Path(__file__).parents[3] / "docs" / "adaptation.md"
FEW = ("--training.max_steps", "3", "--training.batch_size", "2")


def read_regimes():
    """Return the options of each regime, by its name, without the method; and the methods."""
    [table] = re.findall(r"\| mttl \| lorary \|\n\|.*\n((?:\|.*\n)+)", PAGE.read_text())
    rows = [re.fullmatch(r"\| (.*) \| `--method (\S+)(.*)` \|", row) for row in table.splitlines()]
    assert len(rows) > 10 and all(rows)
    groups = {}
    for row in rows:
        options = row[3].replace("--multi-task NAME", "")
        groups.setdefault(options.strip(), []).append(row[2])
    return groups


REGIMES = read_regimes()


@pytest.fixture(scope="module")
def library(trained_library, tmp_path_factory):
    """Three experts, one of them for all tasks, and two skills with a table."""
    library = Library.open(str(tmp_path_factory.mktemp("regimes") / "lib"), create=True)
    for name, expert in Library.open(trained_library).items():
        library.add(expert, name)
    skills = [library["prices"].rename("skills-0"), library["plurals"].rename("skills-1")]
    store_skills(library, make_skill_set(skills))
    return library.url


@pytest.mark.parametrize("options", REGIMES)
def test_it_runs(lorary, library, write_rows, tmp_path, options):
    methods, few = ",".join(REGIMES[options]), write_rows("few.jsonl", 6)
    words = options.replace(" 20", " 2").replace("NAME", "skills-0").split()
    more = ("--multi-task", "prices") if "multi-task" in methods else ()
    place = ("--run", str(tmp_path / "run"), "--json")
    code, output, errors = lorary(
        "adapt", library, "--tasks", few, "--method", methods, *words, *more, *FEW, *place
    )
    assert code == 0, errors
    runs = json.loads(output)["runs"]
    assert [run["method"] for run in runs] == REGIMES[options]
    assert all(run["tasks"][0]["validation_loss"] > 0 for run in runs)
