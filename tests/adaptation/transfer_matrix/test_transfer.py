"""The transfer matrix against single trainings, and what a second call measures."""

import json
from dataclasses import replace

import pytest
import torch

from lorary.adaptation import transfer
from lorary.adaptation.transfer_matrix.cell_store import CellStore
from lorary.adaptation.transfer_matrix.starts import list_starts
from lorary.errors import DataError, FormatError, IncompatibleExpert, TrainingError, UnknownExpert
from lorary.experts import Factors
from lorary.library import Library
from lorary.models.attach import attach_experts
from lorary.training import TrainConfig, train_experts
from lorary.transforms import cluster_experts, merge
from tests.adaptation.transfer_matrix.conftest import CONFIG, NAMES, make_task


@pytest.fixture
def run(base, experts, tasks, tmp_path):
    """Measure a matrix; returns it and the number of cells that were trained for it."""

    def measure(experts=experts, tasks=tasks, folder=tmp_path / "cells", config=CONFIG, **options):
        trained = set()
        options.setdefault("starts", ["experts"])
        found = transfer(
            base, experts, tasks, folder, config,
            on_progress=lambda event: trained.update(event.finished), **options,
        )  # fmt: skip
        return found, len(trained)

    return measure


def train_alone(base, start, task, folder):
    """Train one start on one task as `train_experts` does; returns the losses before and after."""
    config = replace(CONFIG, rank=2, alpha=4.0, validate_every=10**9)
    examples = {"own": replace(task, order=task.digest)}
    starts = {} if start is None else {"own": start}
    curve = train_experts(base, examples, config, folder, starts=starts).progress["own"].validation_curve
    return curve[0][1], curve[-1][1]


def test_a_cell_is_what_a_single_training_gives(run, base, experts, tasks, tmp_path):
    found, _ = run()
    for name in ("morse", "sql"):
        for task in tasks:
            before, after = train_alone(base, experts[name], tasks[task], tmp_path / name / task)
            cell = found.cells[name][task]
            assert (cell.before, cell.after) == pytest.approx((before, after), abs=1e-4)
            assert cell.num_steps == 4
            assert cell.num_tokens == 4 * 2 * 7


def test_merges_are_starts_like_any_other(run, base, experts, tasks, tmp_path):
    found, num_trained = run(starts=["general", "clusters"])
    members = [own for own in cluster_experts(experts).members if len(own) > 1]
    assert {name: set(own) for name, own in found.starts.items() if own} == {
        **{f"cluster {number}": set(own) for number, own in enumerate(members, 1)},
        "general": set(NAMES),
    }
    assert num_trained == 2 * (2 + len(members)) - 2 * sum(len(own) == 4 for own in members)
    mean = merge(experts, "linear", rank=2)
    before, after = train_alone(base, mean, tasks["greek"], tmp_path / "mean")
    cell = found.cells["general"]["greek"]
    assert (cell.before, cell.after) == pytest.approx((before, after), abs=1e-4)


def test_controls_are_a_fresh_expert_and_the_base_model(run, base, tasks, tmp_path):
    found, _ = run()
    assert list(found.starts)[:2] == ["fresh", "base"]
    assert found.starts["fresh"] == found.starts["base"] == ()
    for task, own in tasks.items():
        fresh, alone = found.cells["fresh"][task], found.cells["base"][task]
        assert alone.before == alone.after == fresh.before
        assert alone.num_tokens == 0 < fresh.num_tokens
        assert fresh.before == pytest.approx(train_alone(base, None, own, tmp_path / task)[0], abs=1e-5)
        assert fresh.after != fresh.before


def test_gains_are_differences_from_the_fresh_expert(run):
    found, _ = run()
    gains = found.gains()
    assert gains["fresh"] == {"greek": 0.0, "latin": 0.0}
    cells = found.cells
    assert gains["sql"]["latin"] == cells["fresh"]["latin"].after - cells["sql"]["latin"].after
    ranked = found.rank_starts()
    assert sorted(name for name, _, _ in ranked) == NAMES
    means = [mean for _, mean, _ in ranked]
    assert means == sorted(means, reverse=True)
    name, mean, error = ranked[0]
    values = torch.tensor(list(gains[name].values()))
    assert (mean, error) == pytest.approx((float(values.mean()), float(values.std() / 2**0.5)), abs=1e-6)


def test_a_second_call_trains_nothing(run):
    first, num_trained = run()
    assert num_trained == 10
    assert run() == (first, 0)


def test_only_what_is_missing_is_trained(run, experts, tasks):
    few = {name: experts[name] for name in NAMES[:2]}
    _, num_trained = run(few, {"greek": tasks["greek"]})
    assert num_trained == 3  # and fresh
    assert run()[1] == 10 - 3


def test_an_interrupted_run_keeps_its_cells(run, base, experts, tasks, tmp_path):
    """A kill loses the cells in training only; the others are the same numbers in the end."""
    whole, _ = run(folder=tmp_path / "whole")

    def stop(event):
        if len(event.finished) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(base, experts, tasks, tmp_path / "cells", CONFIG, starts=["experts"], on_progress=stop)
    attach_experts(base.model, experts).detach()  # nothing is attached any more
    again, num_trained = run()
    assert 0 < num_trained <= 10 - 3
    for name, row in whole.cells.items():
        for task, cell in row.items():
            assert again.cells[name][task].after == pytest.approx(cell.after, abs=1e-4)


def test_a_name_does_not_matter_but_the_weights_do(run, experts):
    run({"sql": experts["sql"]})
    assert run({"renamed": experts["sql"].rename("renamed")})[1] == 0
    changed = replace(
        experts["sql"], factors={path: Factors(a, b * 2) for path, (a, b) in experts["sql"].factors.items()}
    )
    assert run({"sql": changed})[1] == 2


@pytest.mark.parametrize("change", [{"max_steps": 3}, {"learning_rate": 0.01}, {"seed": 1}])
def test_other_settings_are_other_cells(run, experts, change):
    few = {"sql": experts["sql"]}
    run(few)
    assert run(few, config=replace(CONFIG, **change))[1] == 4


def test_settings_without_effect_are_not(run, experts):
    few = {"sql": experts["sql"]}
    run(few)
    assert run(few, config=replace(CONFIG, tokens_per_pass=64))[1] == 0


def test_a_library_gives_what_a_mapping_gives(run, experts, tmp_path):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    first, _ = run(folder=tmp_path / "first")
    second, _ = run(library, folder=tmp_path / "second")
    assert second.cells == first.cells
    assert run(library, folder=tmp_path / "second")[1] == 0


def test_starts_of_several_ranks_are_trained_at_the_largest(run, base, experts, draw_expert):
    mixed = {**experts, "wide": draw_expert(base, "wide", rank=5)}
    found, _ = run(mixed, names=["sql", "wide"])
    assert found.settings["training"]["rank"] == 5
    assert list(found.starts) == ["fresh", "base", "sql", "wide"]


def test_a_merge_of_experts_of_low_rank_is_a_start_beside_one_of_high_rank(experts, base, draw_expert):
    mixed = {**experts, "wide": draw_expert(base, "wide", rank=9)}
    starts = list_starts(mixed, None, ["general"], 9)
    assert starts["general"].expert.max_rank == 9
    assert list_starts(mixed, ["dates", "sql"], ["general"], 9)["general"].expert.max_rank <= 4


def test_experts_named_as_controls_or_merges_keep_their_names(run, base, draw_expert):
    experts = {name: draw_expert(base, name) for name in ("fresh", "general", "sql")}
    with pytest.raises(ValueError, match="'fresh' is the name of a control: rename the expert"):
        run(experts)
    found, _ = run({name: experts[name] for name in ("general", "sql")}, starts=["experts", "general"])
    assert list(found.starts) == ["fresh", "base", "general", "sql", "general+"]


def test_the_numbers_are_written(run, tmp_path):
    found, _ = run()
    found.to_json(tmp_path / "transfer.json")
    read = json.loads((tmp_path / "transfer.json").read_text())
    assert read["cells"]["sql"]["latin"]["after"] == found.cells["sql"]["latin"].after
    assert read["tasks"] == {"greek": 3, "latin": 3}


def test_tasks_without_a_split_are_refused(run):
    with pytest.raises(DataError, match="found no validation examples in 'greek'"):
        run(tasks={"greek": make_task(1, num_validation=0), "latin": make_task(2)})
    with pytest.raises(DataError, match=r"found no train examples in 'greek' \(and 1 more\)"):
        run(tasks={"greek": make_task(1, num_train=0), "latin": make_task(2, num_train=0)})
    with pytest.raises(ValueError, match="at least one new task, found none"):
        run(tasks={})


def test_unknown_kinds_and_experts_are_refused(run):
    with pytest.raises(ValueError, match="found 'cluster': did you mean 'clusters'"):
        run(starts=["cluster"])
    with pytest.raises(ValueError, match="found none: known are experts, clusters, general"):
        run(starts=[])
    with pytest.raises(UnknownExpert, match="no expert 'sq1'"):
        run(names=["sq1"])
    with pytest.raises(ValueError, match="at least one expert is needed"):
        run({})


def test_kinds_of_which_there_is_no_start_are_refused_before_any_training(run, experts):
    """The controls were trained, and then the table of starts ended in an error of Python."""
    with pytest.raises(ValueError, match="general cannot be made of 1 expert: general needs 2"):
        run({"sql": experts["sql"]}, starts=["clusters", "general"])


def test_experts_of_another_base_model_are_refused(run, build_tiny_base, draw_expert):
    with pytest.raises(IncompatibleExpert, match="tiny-1"):
        run({"other": draw_expert(build_tiny_base(1), "other")})


def test_a_loss_that_is_not_finite_names_start_and_task(run, experts):
    config = TrainConfig(max_steps=30, batch_size=2, learning_rate=1e30, max_grad_norm=None)
    with pytest.raises(TrainingError, match=r"of start '.*' on task 'greek' must be finite"):
        run({"sql": experts["sql"]}, {"greek": make_task(1)}, config=config)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"before": 1.0}', '{"before": NaN, "after": 1.0, "num_steps": 1, "num_tokens": 1}',
     '{"before": 1.0, "after": 1.0, "num_steps": -1, "num_tokens": 1}',
     '{"before": 1.0, "after": true, "num_steps": 1, "num_tokens": 1}'],
)  # fmt: skip
def test_a_damaged_cell_is_refused(tmp_path, content):
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(FormatError, match="delete it to measure it again"):
        CellStore(tmp_path).load("key")
