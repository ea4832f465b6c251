import json
import os

import pytest

from lorary.cli.commands.quickstart import outcome as room
from lorary.cli.commands.quickstart import steps
from lorary.cli.commands.quickstart.outcome import Outcome, load_outcome, save_outcome
from lorary.cli.commands.quickstart.plan import ROUTER, ROUTES, QuickstartPlan
from lorary.cli.commands.quickstart.reading import read_result
from lorary.errors import FormatError
from lorary.evaluation import Result
from lorary.library import Library
from lorary.reports.routed_sample import RoutedSample, RoutedToken
from lorary.routing import DEFAULT_ROUTER

SIZES = ("--max-steps", "2", "--num-tests", "2")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, build_tiny_base):
    """A tiny base model in a folder, as ``--base`` takes it."""
    base = build_tiny_base()
    folder = str(tmp_path_factory.mktemp("base") / "tiny")
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def test_everything_is_made_and_shown_and_the_next_call_only_shows_it(
    lorary, tmp_path, tiny_folder, monkeypatch
):
    out = tmp_path / "quick"
    words = ("quickstart", "--out", str(out), "--base", tiny_folder, *SIZES)

    code, first, _ = lorary(*words)

    assert code == 0
    for route in ("base", "uniform", "multi-task", "arrow", "calibrated", "oracle"):
        assert route in first
    assert "Answers with calibrated, the default router" in first
    assert len(Library.open(str(out / "library"))) == 8
    assert list(Library.open(str(out / "controls"))) == ["multi-task"]
    assert "<html" in (out / "routing.html").read_text()
    assert (out / "routing.png").read_bytes().startswith(b"\x89PNG")
    assert "next: lorary generate" in first

    monkeypatch.setattr("lorary.cli.commands.quickstart.steps.load_base", None)
    code, second, _ = lorary(*words)

    assert code == 0
    assert second == first


def test_the_router_of_answers_and_pictures_is_the_default_one_and_in_the_table():
    assert ROUTER == DEFAULT_ROUTER
    assert ROUTER in ROUTES


def test_the_sentence_below_the_table_gives_its_numbers():
    right = {"base": (0, 0), "uniform": (0, 0), "multi-task": (1, 0), "arrow": (0, 0)}
    right |= {"calibrated": (1, 1), "oracle": (1, 1)}
    records = [
        (task, route, "exact_match", value)
        for task in ("prices", "questions")
        for route, values in right.items()
        for value in values
    ]
    said = read_result(PLAN, Result.from_records(records))
    assert "100% with calibrated, the default router, which sees no data of the tasks" in said
    assert "100% with each task's own expert (oracle); 0% with Arrow" in said
    assert "The difference calibrated minus multi-task is +50 ± 35 percentage points." in said


def test_other_sizes_are_another_plan_whose_outcome_is_not_reused(tmp_path):
    plan = QuickstartPlan(max_steps=2)
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "outcome.json").write_text(
        json.dumps({"plan": {"max_steps": 3}, "seconds": 1, "samples": []})
    )

    assert load_outcome(plan, tmp_path) is None


def test_a_size_that_leaves_no_standard_error_is_refused(lorary, tmp_path):
    code, _, complaint = lorary("quickstart", "--out", str(tmp_path), "--num-tests", "1")

    assert code == 2
    assert complaint == "error: --num-tests must be at least 2, found 1\n"


PLAN = QuickstartPlan(max_steps=2)
TOKEN = {"text": "x", "experts": [["prices", 0.5]]}


@pytest.fixture
def out(tmp_path):
    """A folder with the outcome of ``PLAN``."""
    result = Result.from_records([("prices", "base", "loss", 1.5), ("prices", "base", "loss", 2.5)])
    token = RoutedToken("x", (("prices", 0.5), ("questions", 0.5)))
    save_outcome(PLAN, Outcome(result, (RoutedSample("prices", (token,), (token, token)),), 3.5), tmp_path)
    return tmp_path


def edit(out, **changes):
    record = json.loads((out / room.RECORD).read_text())
    (out / room.RECORD).write_text(json.dumps({**record, **changes}))


def test_an_outcome_comes_back(out):
    found = load_outcome(PLAN, out)
    assert found.result.values("prices", "base", "loss") == (1.5, 2.5)
    assert found.seconds == 3.5
    assert found.samples[0].answer[1].experts == (("prices", 0.5), ("questions", 0.5))
    assert load_outcome(QuickstartPlan(max_steps=3), out) is None
    assert not list(out.glob(".lorary-*"))


def test_an_outcome_of_an_earlier_version_is_shown(out):
    record = json.loads((out / room.RECORD).read_text())
    del record["results_sha256"]
    (out / room.RECORD).write_text(json.dumps(record))
    assert load_outcome(PLAN, out).seconds == 3.5


def test_numbers_of_another_plan_are_not_shown_as_this_ones(out):
    """Guards a harm: a run killed between its two files left another plan's numbers beside this outcome."""
    Result.from_records([("prices", "base", "loss", 9.0)]).to_json(out / room.RESULTS)
    assert load_outcome(PLAN, out) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": "3"},
        {"seconds": True},
        {"seconds": None},
        {"samples": None},
        {"samples": {}},
        {"samples": [7]},
        {"samples": [{}]},
        {"samples": [{"task": 7, "prompt": [], "answer": []}]},
        {"samples": [{"task": "a", "prompt": "abc", "answer": []}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [[]]}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [{**TOKEN, "text": 7}]}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [{**TOKEN, "experts": []}]}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [{**TOKEN, "experts": [["nobody", 1.0]]}]}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [{**TOKEN, "experts": [["prices"]]}]}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [{**TOKEN, "experts": [["prices", "x"]]}]}]},
        {"samples": [{"task": "a", "prompt": [], "answer": [{**TOKEN, "experts": [[[], 1.0]]}]}]},
        {"samples": ["x" * 10**6]},
    ],
    ids=lambda changes: str(changes)[:70],
)
def test_a_damaged_outcome_is_refused_by_name(out, changes):
    edit(out, **changes)
    with pytest.raises(
        FormatError, match=r"outcome\.json' is damaged .*: delete it to evaluate again"
    ) as error:
        load_outcome(PLAN, out)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 10**6, b'{"plan": NaN}'])
@pytest.mark.parametrize("name", [room.RECORD, room.RESULTS])
def test_what_is_no_json_object_is_refused_or_measured_again(out, name, content):
    (out / name).write_bytes(content)
    if name == room.RESULTS:
        assert load_outcome(PLAN, out) is None
        return
    with pytest.raises(FormatError, match=r"outcome\.json'"):
        load_outcome(PLAN, out)


@pytest.mark.parametrize("name", [room.RECORD, room.RESULTS])
def test_a_pipe_is_refused_and_never_waited_for(out, name):
    (out / name).unlink()
    os.mkfifo(out / name)
    with pytest.raises(FormatError, match="must be a regular file, found a named pipe"):
        load_outcome(PLAN, out)


def test_starting_over_removes_what_a_quickstart_left_and_nothing_else(out, tmp_path_factory):
    """Guards a harm: ``quickstart --out . --fresh`` emptied the folder it was called in."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine").write_text("mine")
    (out / "thesis.tex").write_text("mine")
    (out / "library").symlink_to(elsewhere)
    (out / "library-run").mkdir()
    (out / "library-run" / "run.json").write_text("{}")
    steps.remove_earlier(out)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    assert (elsewhere / "mine").read_text() == "mine"


def test_starting_over_where_no_quickstart_was_removes_nothing(tmp_path):
    (tmp_path / "library").mkdir()
    steps.remove_earlier(tmp_path)
    assert (tmp_path / "library").is_dir()
