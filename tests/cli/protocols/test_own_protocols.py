"""A user's own protocol: faults, resuming, changes, values."""

import json

import pytest
import yaml

from lorary.cli.protocols.order import order_stages

SIZES = {"parameters": 1e6, "layers": 2, "hidden": 16, "width": 100}


def make_protocol(**changes):
    return {
        "protocol": 1,
        "title": "Two reports",
        "paper": "none",
        "scales": {
            "full": {"sizes": SIZES, "values": {"base": "no-model", "tasks": ["synthetic:plurals"]}},
        },
        "stages": {
            "second": {
                "does": "Show tasks again",
                "command": "lorary data show {tasks}",
                "needs": ["first"],
            },
            "first": {"does": "Show tasks", "command": "lorary data show {tasks}"},
        },
        **changes,
    }


@pytest.fixture
def own(tmp_path, lorary, write_rows):
    """Writes a protocol and runs it; returns the exit code, the output and the errors."""
    rows = write_rows("rows.jsonl", 3)

    def run(*words, **changes):
        content = make_protocol()
        content["scales"]["full"]["values"]["tasks"] = [rows]
        content |= changes
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return lorary("run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run"), *words)

    return run


def test_stages_run_in_the_order_of_their_needs_and_are_resumed(own, tmp_path):
    code, output, errors = own()
    assert code == 0, errors
    assert errors.index("stage 1 of 2, first") < errors.index("stage 2 of 2, second")
    assert "all 2 stages are finished; the protocol has no table" in output
    code, _, errors = own()
    assert code == 0
    assert "stage" not in errors


def test_a_stage_that_fails_is_named_and_the_run_goes_on_from_it(own, tmp_path):
    broken = str(tmp_path / "later.jsonl")
    stages = {
        "first": {"does": "Show", "command": "lorary data show {tasks}"},
        "second": {"does": "Show a file", "command": f"lorary data show {broken}", "needs": ["first"]},
    }
    code, _, errors = own(stages=stages)
    assert code == 2
    assert "stage second failed; earlier stages are kept: run the same command again" in errors
    (tmp_path / "later.jsonl").write_text('{"input": "a", "target": "b"}\n' * 3)
    code, output, errors = own(stages=stages)
    assert code == 0, errors
    assert "stage 1 of 2, first: done before" in output
    assert "stage 2 of 2, second: Show a file" in errors


def test_a_stage_is_run_again_if_what_it_made_is_gone_and_so_are_those_after_it(own, tmp_path):
    marker = tmp_path / "made.jsonl"
    marker.write_text('{"input": "a", "target": "b"}\n' * 3)
    stages = {
        "first": {"does": "Show", "command": f"lorary data show {marker}", "makes": [str(marker)]},
        "second": {"does": "Show", "command": "lorary data show {tasks}", "needs": ["first"]},
    }
    assert own(stages=stages)[0] == 0
    text = marker.read_text()
    marker.unlink()
    assert own(stages=stages)[0] == 2
    marker.write_text(text)
    code, output, errors = own(stages=stages)
    assert code == 0 and "done before" not in output, "the second one had read what the first one made"
    assert "stage 2 of 2, second: Show" in errors
    assert own(stages=stages)[1].count("done before") == 2


def test_a_changed_protocol_is_refused_with_the_difference(own, tmp_path, write_rows):
    assert own()[0] == 0
    code, _, errors = own("--set", f"tasks={write_rows('other.jsonl', 3)}")
    assert code == 2
    assert "has another run: stage 'first' had" in errors
    assert "other.jsonl" in errors and "use another --out, or delete" in errors
    (tmp_path / "run" / "protocol.json").write_text("{")
    code, _, errors = own()
    assert code == 2 and "protocol.json" in errors and "delete it to start over" in errors


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"titel": "x"}, ["the file has an unknown key 'titel': did you mean 'title'"]),
        ({"protocol": 2}, ["protocol must be 1, the version of the format, found 2"]),
        (
            {"title": 3, "scales": {}},
            ["title of the file must be a text, found 3", "scales must not be empty"],
        ),
        (
            {
                "stages": {
                    "a": {"does": "x", "command": "lorary data show x", "needs": ["bb"]},
                    "b": {"does": "x", "comand": "lorary"},
                    "C_": {"does": "x", "command": "rm -rf x"},
                }
            },
            [
                "stage 'b' has an unknown key 'comand': did you mean 'command'",
                "stage 'b' has no command",
                "the name of stage 'C_' must have lowercase letters",
                "the command of stage 'C_' must begin with lorary, found 'rm'",
                "needs of stage 'a' has an unknown name 'bb': did you mean 'b'",
            ],
        ),
        (
            {
                "stages": {
                    "a": {"does": "x", "command": "lorary data show x", "needs": ["b"]},
                    "b": {"does": "x", "command": "lorary data show x", "needs": ["a"]},
                }
            },
            ["stages need each other in a cycle (a needs b needs a): remove one of these needs"],
        ),
        (
            {"table": [{"row": "x", "stage": "frist", "route": "base"}]},
            ["unknown stage 'frist': did you mean 'first'"],
        ),
    ],
    ids=["key", "version", "types", "stages", "circle", "table"],
)
def test_faults_of_a_file_are_told_all_at_once(own, changes, messages):
    code, _, errors = own(**changes)
    assert code == 2
    for message in messages:
        assert message in errors


def test_faults_of_commands_are_told_before_anything_runs(own, tmp_path):
    stages = {
        "a": {"does": "x", "command": "lorary data shwo x"},
        "b": {"does": "x", "command": "lorary data show x --formt plain"},
        "c": {"does": "x", "command": "lorary data show {taks}"},
        "d": {"does": "x", "command": "lorary run phi2-flan256"},
    }
    code, _, errors = own(stages=stages)
    assert code == 2
    assert "stage 'a' has an unknown command 'data shwo': did you mean 'data show'" in errors
    assert "stage 'b': unknown option 'formt': did you mean 'format'" in errors
    assert "stage 'c' has an unknown value {taks}: did you mean 'tasks'" in errors
    assert "stage 'd' must not run a protocol" in errors
    assert not (tmp_path / "run").exists()


def test_a_scale_without_stages_is_refused(own):
    """The plan ended in an error of Python."""
    stages = {"first": {"does": "x", "command": "lorary data show {tasks}", "scales": ["tiny"]}}
    scales = {
        name: {"sizes": SIZES, "values": {"base": "no-model", "tasks": "x"}} for name in ("full", "tiny")
    }
    code, _, errors = own("--dry-run", stages=stages, scales=scales)
    assert code == 2 and "no stage is of scale 'full': give it some" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scale", "ful"), "protocol own has no scale 'ful': did you mean 'full'?"),
        (("--set", "taks=x"), "--set names an unknown value 'taks': did you mean 'tasks'"),
        (("--set", "x"), "--set takes NAME=VALUE, found 'x'"),
        (("--data", "nowhere"), "--data must be a folder, found none at 'nowhere'"),
        (("--tflops", "0"), "--tflops must be above 0"),
    ],
)
def test_wrong_options_are_refused(own, words, message):
    code, _, errors = own(*words)
    assert code == 2
    assert message in errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "phi2-flan",
            "no protocol 'phi2-flan', and it is not a file that ends in .yaml: did you mean",
        ),
        ("x.yaml", "no protocol file"),
    ],
)
def test_unknown_protocols_are_refused_with_the_nearest(lorary, name, message):
    code, _, errors = lorary("run", name)
    assert code == 2
    assert message in errors


def test_the_plan_follows_from_the_numbers(own):
    stages = {
        "train": {
            "does": "x",
            "command": "lorary data show {tasks}",
            "cost": {
                "train": {"experts": 3, "steps": 10, "batch_size": 4, "tokens": 50, "rank": 2, "slots": 2},
                "read": {"items": 5, "tokens": 100, "routes": 2},
            },
        }
    }
    code, output, errors = own("--dry-run", "--json", "--tflops", "2", stages=stages)
    assert code == 0, errors
    (found,) = json.loads(output)["stages"]
    assert found["train_tokens"] == 3 * 10 * 4 * 50 and found["read_tokens"] == 1000
    assert found["hours"] == pytest.approx(1e6 * (4 * 6000 + 2 * 1000) / 2e12 / 3600)
    expert = 2 * 100 * 4
    assert found["disk"] == expert * (2 * 3 + 3 * 2)
    assert found["memory"] == 2e6 + 5 * 2 * expert + 34 * 2048 * 16 * 2


def test_stages_are_ordered_and_circles_are_found():
    assert order_stages({"c": ["b"], "a": [], "b": ["a"]}) == (["a", "b", "c"], [])
    assert order_stages({"d": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}) == ([], ["a", "b", "c", "a"])
    assert order_stages({"a": ["a"]}) == ([], ["a", "a"])
