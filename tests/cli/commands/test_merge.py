import errno
import json
import shutil

import pytest
import torch

from lorary.cli.commands.merge.options import METHODS
from lorary.experts import Expert, ExpertCard, Factors, read_peft
from lorary.library import Library
from lorary.transforms import merge
from lorary.transforms.merging import MERGES

PATH = "layers.0.proj"


def test_experts_are_merged_into_the_library(lorary, library, same_weights):
    code, output, errors = lorary(
        "merge",
        library.url,
        "--experts",
        "poetry,sql",
        "--options",
        "density=0.5",
        "scale=2",
        "--out",
        "both",
    )
    assert (code, errors) == (0, "")
    expected = merge(library, "ties", names=["poetry", "sql"], density=0.5, scale=2)
    assert same_weights(library["both"], expected)
    assert library["both"].card.parents == ("poetry", "sql")
    lines = output.splitlines()
    assert lines[0] == "experts   2: poetry, sql; for tiny-base"
    assert lines[1] == "method    ties on delta, density 0.5, scale 2"
    assert lines[2].startswith("layers    1, merged to rank 2")
    assert lines[5] == "out       both"
    assert lines[6].startswith(
        f"merged 2 experts into 'both' in library {library.url!r} in 1 s: rank 2, 20 par"
    )
    assert "on average over layers" in lines[7] and "in layers.0.proj" in lines[7]
    assert lines[-1] == f"next: lorary generate {library.url} PROMPT --expert both"


def test_all_experts_are_merged_if_none_is_named(lorary, library):
    assert lorary("merge", library.url, "--method", "linear", "--out", "all")[0] == 0
    assert library["all"].card.parents == ("card games", "poetry", "sql")


@pytest.mark.parametrize(
    "words", [["poetry=0.5,sql=2"], ["poetry=0.5", "sql=2"], ["0.5,2"], ["0.5", "2"]], ids=" ".join
)
def test_weights_come_in_order_or_by_name(lorary, library, same_weights, words):
    names = ["--experts", "poetry", "sql"]
    assert (
        lorary("merge", library.url, "--method", "cat", *names, "--weights", *words, "--out", "sum")[0] == 0
    )
    expected = merge(library, "cat", names=["poetry", "sql"], weights=[0.5, 2])
    assert same_weights(library["sum"], expected)


def test_a_merge_goes_into_a_folder_as_a_plain_adapter(lorary, library, tmp_path):
    folder = str(tmp_path / "out" / "mixed")
    code, output, _ = lorary(
        "merge",
        library.url,
        "--method",
        "cat",
        "--experts",
        "sql,poetry",
        "--out",
        folder,
        "--dtype",
        "bfloat16",
    )
    assert code == 0 and len(library) == 3
    expert = read_peft(folder)
    assert expert.name == "mixed" and expert.dtypes == (torch.bfloat16,) and expert.max_rank == 4
    assert "exact: no layer was truncated" in output
    assert output.splitlines()[-1] == f"next: lorary library add {library.url} {folder}"


def test_options_may_come_from_a_yaml_file(lorary, library, same_weights, tmp_path):
    config = tmp_path / "merge.yaml"
    config.write_text(
        f"library: {library.url}\nmethod: core\nexperts: [poetry, sql]\nweights: {{poetry: 1, sql: 3}}\n"
        "options: {inner: tsv, scale: 0.5}\nout: cored\n"
    )
    code, _, errors = lorary("merge", "--config", str(config))
    assert (code, errors) == (0, "")
    expected = merge(library, "core", names=["poetry", "sql"], weights=[1, 3], inner="tsv", scale=0.5)
    assert same_weights(library["cored"], expected)


def test_an_energy_may_be_asked_for(lorary, library):
    code, output, _ = lorary("merge", library.url, "--method", "linear", "--rank", "80%", "--out", "most")
    assert code == 0 and "merged to rank at most " in output
    assert library["most"].card.provenance["truncation_error"][PATH] <= 0.2**0.5


def test_a_dry_run_says_what_would_be_done_and_how_to_do_it(lorary, library):
    words = ["--method", "linear", "--experts", "poetry,sql", "--weights", "1", "2", "--rank", "2"]
    code, output, _ = lorary("merge", library.url, *words, "--dry-run")
    assert code == 0 and len(library) == 3
    lines = output.splitlines()
    assert lines[3] == "reads     1 MB of factors, every expert once"
    assert lines[4].startswith("needs     about 1 MB of memory and 1 s")
    assert lines[5] == f"next: lorary merge {library.url} {' '.join(words)} --out NAME"


def test_programs_get_json(lorary, library):
    plan = json.loads(lorary("merge", library.url, "--dry-run", "--json")[1])
    assert plan["names"] == ["card games", "poetry", "sql"] and plan["layers"][0]["path"] == PATH
    code, output, errors = lorary("merge", library.url, "--out", "all", "--json")
    assert code == 0 and errors.startswith("experts   3: card games, poetry, sql")
    found = json.loads(output)
    assert found["expert"] == "all" and set(found["truncation_error"]) == {PATH}


def test_an_expert_whose_name_has_a_comma_can_be_named(lorary, library, make_expert):
    library.add(make_expert("rhyme, odes"))
    assert lorary("merge", library.url, "--experts", "rhyme, odes", "sql", "--out", "new")[0] == 0
    assert library["new"].card.parents == ("rhyme, odes", "sql")


def test_the_help_names_every_method(lorary):
    text = " ".join(lorary("merge", "--help")[1].split())
    for name in MERGES:
        assert f" {name}" in text


def test_what_is_there_is_replaced_only_if_asked_for(lorary, library, tmp_path):
    code, _, errors = lorary("merge", library.url, "--out", "sql")
    assert code == 2 and "already has an expert 'sql': choose another name, or add --replace" in errors
    assert lorary("merge", library.url, "--out", "sql", "--replace")[0] == 0
    folder = str(tmp_path / "out")
    assert lorary("merge", library.url, "--out", folder)[0] == 0
    code, _, errors = lorary("merge", library.url, "--out", folder)
    assert code == 2 and f"{folder!r} already exists" in errors
    assert lorary("merge", library.url, "--out", folder, "--replace")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--out is missing"),
        (["--out", "_x"], "an expert's name must not begin with '_'"),
        (["--out", "x", "--experts", "poerty"], "has no expert 'poerty': did you mean 'poetry'"),
        (["--out", "x", "--experts", ","], "at least one expert is needed to merge, found none"),
        (
            ["--out", "x", "--method", "teis"],
            "merge_method must be a known method, found 'teis': did you mean 'ties'",
        ),
        (["--out", "x", "--options", "densty=0.5"], "unknown option 'densty': did you mean 'density'"),
        (
            ["--out", "x", "--options", "density"],
            "--options takes NAME=VALUE, such as density=0.3, found 'density'",
        ),
        (["--out", "x", "--options", "density=["], "a value of --options must be valid YAML"),
        (["--out", "x", "--options", "density=1.5"], "density must be in (0, 1], found 1.5"),
        (["--out", "x", "--weights", "1,many,3"], "a weight must be a finite number, found 'many'"),
        (["--out", "x", "--weights", "1,2"], "weights must be one number per expert, found 2 for 3"),
        (["--out", "x", "--weights", "sql=1,chess=2"], "there is no expert 'chess'"),
        (["--out", "x", "--pico", "both"], "pico must be 'merge' or 'experts', found 'both'"),
        (["--out", "x", "--method", "lorahub", "--tasks", "t.jsonl", "--pico"], "leave out --pico"),
        (["--out", "x", "--rank", "5"], "rank must be at most"),
        (["--out", "x", "--rank", "most"], "rank must be a whole number of at least 1"),
        (["--out", "x", "--method", "regmean"], "--method regmean needs --tasks"),
        (["--out", "x", "--base", "big"], "has no expert for base model 'big'"),
        (["--out", "x", "--recipe", "none.yaml", "--method", "ties"], "leave out --method"),
        (["--out", "x", "--recipe", "none.yaml", "--pico"], "leave out --pico"),
        (["--out", "x", "--recipe", "none.yaml"], "recipe file 'none.yaml' does not exist: check --recipe"),
    ],
)
def test_bad_input_is_explained_and_nothing_is_written(lorary, library, words, message):
    code, _, errors = lorary("merge", library.url, *words)
    assert code == 2
    assert message in errors
    assert sorted(library) == ["card games", "poetry", "sql"]


def test_experts_of_other_bases_and_layers_are_told_apart(lorary, library):
    other = {"layers.1.proj": Factors(torch.ones(2, 6), torch.ones(4, 2))}
    library.add(Expert("elsewhere", "tiny-base", {**library["sql"].factors, **other}, ExpertCard()))
    library.add(Expert("big", "big-base", other, ExpertCard()))
    code, _, errors = lorary("merge", library.url, "--out", "x")
    assert code == 2 and "must be for one base model" in errors
    code, _, errors = lorary("merge", library.url, "--base", "tiny-base", "--out", "x")
    assert code == 2 and "choose layers 'common' to merge the 1 that all change" in errors
    words = ["--base", "tiny-base", "--layers", "common", "--out", "x"]
    assert lorary("merge", library.url, *words)[0] == 0
    assert list(library["x"].factors) == [PATH]


def test_a_full_disk_leaves_nothing_behind(lorary, library, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lorary.library.storage.local.change.LocalChange.stage", fail)
    code, _, errors = lorary("merge", library.url, "--out", "x")
    assert code == 2 and "space" in errors
    assert "x" not in Library.open(library.url)


def test_a_disk_without_room_is_found_before_the_merge(lorary, library, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lorary.cli.commands.merge.run.merge_by_recipe", lambda *args, **kw: pytest.fail("merged")
    )
    monkeypatch.setattr("lorary.library.storage.local.storage.LocalStorage.free_bytes", lambda self: 7)
    code, _, errors = lorary("merge", library.url, "--out", "x")
    assert code == 2 and "no space left in" in errors and "80 bytes are needed, 7 are free" in errors
    monkeypatch.setattr(
        "lorary.cli.commands.merge.place.disk_usage", lambda path: shutil._ntuple_diskusage(9, 2, 7)
    )
    code, _, errors = lorary("merge", library.url, "--out", str(tmp_path / "x"))
    assert code == 2 and f"no space left for the merged expert in '{tmp_path}': 80 bytes are needed" in errors
    assert len(errors.splitlines()) == 1 and not (tmp_path / "x").exists()


def test_a_disk_that_fills_up_says_what_is_lost(lorary, library, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lorary.experts.folder._write_synced", fail)
    code, _, errors = lorary("merge", library.url, "--out", str(tmp_path / "x"))
    assert code == 2 and "No space left on device; nothing was written there, and the merge is lost" in errors
    assert not (tmp_path / "x").exists() and list(tmp_path.glob(".lorary-*")) == []


def test_ctrl_c_says_that_nothing_was_written(lorary, library, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lorary.cli.commands.merge.run.merge_by_recipe", interrupt)
    code, _, errors = lorary("merge", library.url, "--out", "x")
    assert code == 130 and "nothing was written; run the same command again to start over" in errors


def test_help_lists_every_method_of_the_table():
    assert sorted(METHODS) == sorted([*MERGES, "lorahub"])


def test_the_plan_shows_the_values_of_each_expert(lorary, library, tmp_path):
    recipe = tmp_path / "ties.yaml"
    recipe.write_text(
        "merge_method: ties\nmodels:\n"
        "  - {model: poetry, parameters: {density: 0.5, weight: 0.6}}\n"
        "  - {model: sql, parameters: {density: 0.5, weight: 0.4}}\n"
    )
    code, printed, _ = lorary("merge", library.url, "--recipe", str(recipe), "--dry-run")
    assert code == 0
    assert "density 0.5" in printed
    assert "weight 0.6 / 0.4" in printed


def test_pico_comes_before_the_method(lorary, library, same_weights, tmp_path):
    experts = ["--experts", "poetry", "sql"]
    code, output, _ = lorary("merge", library.url, *experts, "--method", "linear", "--pico", "--out", "both")
    assert code == 0 and "method    pico (merge), then linear on delta" in output
    expected = merge(library, "linear", names=["poetry", "sql"], pico="merge")
    assert same_weights(library["both"], expected)
    recipe = tmp_path / "pico.yaml"
    recipe.write_text(
        "merge_method: ties\npico: experts\nparameters: {density: 0.5}\n"
        "models: [{model: poetry}, {model: sql}]\n"
    )
    assert lorary("merge", library.url, "--recipe", str(recipe), "--out", "kept")[0] == 0
    expected = merge(library, "ties", names=["poetry", "sql"], pico="experts", density=0.5)
    assert same_weights(library["kept"], expected)
    recipe.write_text("merge_method: ties\npico: both\nmodels: [{model: poetry}, {model: sql}]\n")
    code, _, errors = lorary("merge", library.url, "--recipe", str(recipe), "--out", "x")
    assert code == 2 and "pico must be 'merge' or 'experts', found 'both'" in errors
