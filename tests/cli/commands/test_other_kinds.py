"""Experts of other kinds in a library: commands that cannot use them leave them out, with one line."""

import json
import re
import warnings
from dataclasses import replace

import pytest
import torch

from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.sparse import SparsePart
from lorary.library import Library
from tests.cli.commands.train.quick import QUICK

TASKS = ("--tasks", "generated:plurals", "generated:prices")
LEFT_OUT = r"uses experts of low-rank factors only, and leaves out 2 others, such as 'scaled', which has"


@pytest.fixture
def mixed(trained_library, tmp_path):
    """A library of three experts of low-rank factors, one of DoRA and one of IA3."""
    library = Library.open(str(tmp_path / "mixed"), create=True)
    for name, expert in Library.open(trained_library).items():
        library.add(expert, name)
    prices = library["prices"]
    magnitudes = {path: (DoraPart(pair.b.norm(dim=1) + 1),) for path, pair in prices.factors.items()}
    library["scaled"] = replace(prices, name="scaled", parts=magnitudes)
    path, pair = next(iter(prices.factors.items()))
    scales = {path: (Ia3Part(torch.full((pair.b.shape[0],), 1.5), scales_inputs=False),)}
    library["tuned"] = replace(prices, name="tuned", factors={}, parts=scales)
    return library


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("cluster", "--out", "clusters.yaml"), "cluster_1"),
        (("prototypes",), "prototypes of 3 experts"),
        (("subtract", "prices", "--out", "rest"), "2 experts without prices"),
        (("merge", "--method", "linear", "--dry-run"), "3: past_tense, plurals, prices"),
        (("train", "--method", "moe", *TASKS, *QUICK), "experts   3, frozen: past_tense, plurals, prices"),
    ],
)
def test_they_are_left_out_with_one_line(lorary, mixed, monkeypatch, tmp_path, tiny_base, words, found):
    monkeypatch.chdir(tmp_path)
    more = ("--base", tiny_base) if words[0] == "train" else ()
    with pytest.warns(UserWarning, match=LEFT_OUT):
        code, output, errors = lorary(words[0], mixed.url, *words[1:], *more)
    assert code == 0, errors
    assert found in output


def test_a_transfer_matrix_leaves_them_out_and_ends_with_the_next_command(
    lorary, mixed, write_rows, tmp_path
):
    new = ("--tasks", write_rows("new.jsonl"))
    few = ("--training.max_steps", "1", "--training.batch_size", "2", "--out", str(tmp_path / "out"))
    with pytest.warns(UserWarning, match=f"a transfer matrix {LEFT_OUT}"):
        code, output, errors = lorary("transfer", mixed.url, *new, "--starts", "clusters,general", *few)
    assert code == 0, errors
    assert "3 experts of 5" in output
    last = output.splitlines()[-1]
    assert re.match(rf"next: lorary adapt {mixed.url} --tasks \S+ --method average", last)


def test_an_adaptation_says_it_once_for_all_methods(lorary, mixed, write_rows):
    words = ("--training.max_steps", "1", "--training.batch_size", "2", "--method", "average,nearest,fresh")
    new = ("--tasks", write_rows("new.jsonl", 6), "--by", "random", "--retrieve", "2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code, output, errors = lorary("adapt", mixed.url, *new, *words)
    assert code == 0, errors
    assert len([each for each in caught if re.search(LEFT_OUT, str(each.message))]) == 1
    assert f"library   {mixed.url}, 3 experts" in output


def test_they_are_evaluated_by_name_beside_routers(lorary, mixed, tmp_path):
    routes = "base,random,expert:scaled,expert:tuned,uniform,oracle"
    few = ("--evaluation.num_examples", "2", "--json")
    with pytest.warns(UserWarning, match=r"expert 'scaled' has DoRA magnitudes \(and 1 more such expert\)"):
        code, output, errors = lorary("eval", mixed.url, *TASKS, "--routes", routes, *few)
    assert code == 0, errors
    means = json.loads(output)["loss"]["mean"]
    assert list(means) == routes.split(",")
    losses = {route: mean["mean"] for route, mean in means.items()}
    assert len(set(losses.values())) == len(losses)


def test_sparse_and_low_rank_experts_that_are_named_are_no_single_adapter(lorary, mixed):
    path, pair = next(iter(mixed["prices"].factors.items()))
    width = pair.b.shape[0] + pair.a.shape[1]
    indices = torch.stack([torch.arange(width) % pair.b.shape[0], torch.arange(width) // pair.b.shape[0]])
    part = SparsePart(torch.ones(width), indices, 1)
    mixed["entries"] = replace(mixed["prices"], name="entries", factors={}, parts={path: (part,)})
    words = ("--experts", "entries", "prices", "--method", "cat", "--layers", "all", "--out", "both")
    code, _, errors = lorary("merge", mixed.url, *words)
    assert code == 2 and "both" not in mixed
    assert "expert 'entries' has sparse changes and 'prices' low-rank factors, and no PEFT adapter" in errors


def test_nothing_but_others_is_refused_with_what_is_possible(lorary, mixed, tmp_path):
    for name in ("past_tense", "plurals", "prices"):
        del mixed[name]
    code, _, errors = lorary("cluster", mixed.url, "--out", str(tmp_path / "clusters.yaml"))
    assert code == 2
    assert (
        "clustering needs experts of low-rank factors only, but expert 'scaled' has DoRA magnitudes" in errors
    )
