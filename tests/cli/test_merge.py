import errno
import json

import pytest
import torch

from lorary.assembly import collect_inputs
from lorary.data import find_template
from lorary.data.generated import generate_tasks
from lorary.experts import Expert, ExpertCard, Factors, read_peft
from lorary.library import Library
from lorary.models import attach_experts, load_base
from lorary.training import prepare_examples
from lorary.transforms import MERGES, merge

PATH = "layers.0.proj"


def same_weights(one, other):
    return all(torch.equal(one.factors[path].b, pair.b) for path, pair in other.factors.items())


def test_experts_are_merged_into_the_library(lorary, library):
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
    assert "of a layer's norm in the mean" in lines[7] and "in layers.0.proj" in lines[7]
    assert lines[-1] == f"next: lorary generate {library.url} PROMPT --expert both"


def test_all_experts_are_merged_if_none_is_named(lorary, library):
    assert lorary("merge", library.url, "--method", "linear", "--out", "all")[0] == 0
    assert library["all"].card.parents == ("card games", "poetry", "sql")


@pytest.mark.parametrize(
    "words", [["poetry=0.5,sql=2"], ["poetry=0.5", "sql=2"], ["0.5,2"], ["0.5", "2"]], ids=" ".join
)
def test_weights_come_in_order_or_by_name(lorary, library, words):
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
    assert "nothing was cut off: every layer is the exact merge" in output
    assert output.splitlines()[-1] == f"next: lorary library add {library.url} {folder}"


def test_a_recipe_file_is_followed_and_stored(lorary, library, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "merge_method: dare_ties\nmodels:\n- model: poetry\n  parameters: {weight: 1}\n- model: sql\n"
        "  parameters: {weight: [0.5, 1]}\nparameters: {density: 0.7, seed: 3}\nrank: 1\n"
    )
    assert lorary("merge", library.url, "--recipe", str(recipe), "--out", "followed")[0] == 0
    found = library["followed"]
    assert found.max_rank == 1
    assert found.card.provenance["recipe"]["parameters"] == {"density": 0.7, "seed": 3}
    assert found.card.provenance["recipe"]["models"][1]["parameters"] == {"weight": [0.5, 1]}


def test_options_may_come_from_a_yaml_file(lorary, library, tmp_path):
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
    assert lines[5].startswith(
        f"next: lorary merge {library.url} --method linear --experts poetry,sql --weights 1 2"
    )
    assert lines[5].endswith("--rank 2 --out NAME")


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
    assert code == 2 and "has an expert 'sql' already: choose another name, or --replace it" in errors
    assert lorary("merge", library.url, "--out", "sql", "--replace")[0] == 0
    folder = str(tmp_path / "out")
    assert lorary("merge", library.url, "--out", folder)[0] == 0
    code, _, errors = lorary("merge", library.url, "--out", folder)
    assert code == 2 and f"there is something at {folder!r} already" in errors
    assert lorary("merge", library.url, "--out", folder, "--replace")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--out must say where the merged expert goes"),
        (["--out", "_x"], "an expert's name must not begin with '_'"),
        (["--out", "x", "--experts", "poerty"], "has no expert 'poerty': did you mean 'poetry'"),
        (["--out", "x", "--experts", ","], "at least one expert is needed to merge, found none"),
        (["--out", "x", "--method", "teis"], "no merging method is named 'teis': did you mean 'ties'"),
        (["--out", "x", "--options", "densty=0.5"], "unknown option 'densty': did you mean 'density'"),
        (
            ["--out", "x", "--options", "density"],
            "--options takes NAME=VALUE, such as density=0.3, found 'density'",
        ),
        (["--out", "x", "--options", "density=["], "a value of --options cannot be understood"),
        (["--out", "x", "--options", "density=1.5"], "density must lie in (0, 1], found 1.5"),
        (["--out", "x", "--weights", "1,many,3"], "a weight must be a number, found 'many'"),
        (["--out", "x", "--weights", "1,2"], "weights must be one number per expert, found 2 for 3"),
        (["--out", "x", "--weights", "sql=1,chess=2"], "no expert 'chess' to weigh"),
        (["--out", "x", "--rank", "5"], "rank 5 is above what exists"),
        (["--out", "x", "--rank", "most"], "rank must be a whole number from 1"),
        (["--out", "x", "--method", "regmean"], "--method regmean needs --tasks"),
        (["--out", "x", "--base", "big"], "has no expert for base model 'big'"),
        (["--out", "x", "--recipe", "none.yaml", "--method", "ties"], "leave out --method"),
        (["--out", "x", "--recipe", "none.yaml"], "No such file or directory: 'none.yaml'"),
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
    assert code == 2 and "choose layers 'common' to merge the 1 that are" in errors
    words = ["--base", "tiny-base", "--layers", "common", "--out", "x"]
    assert lorary("merge", library.url, *words)[0] == 0
    assert list(library["x"].factors) == [PATH]


def test_a_full_disk_leaves_nothing_behind(lorary, library, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lorary.library.publish.Publisher.stage", fail)
    code, _, errors = lorary("merge", library.url, "--out", "x")
    assert code == 2 and "space" in errors
    assert "x" not in Library.open(library.url)


def test_ctrl_c_says_that_nothing_was_written(lorary, library, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lorary.transforms.merge_by_recipe", interrupt)
    code, _, errors = lorary("merge", library.url, "--out", "x")
    assert code == 130 and "nothing was written; the same command starts over" in errors


class TestLorahub:
    """Weights from a few examples of a new task."""

    @pytest.fixture
    def weigh(self, lorary, trained_library, tmp_path):
        """Merges into a folder, weighing experts by examples of a generated task."""

        def run(*words, tasks=("generated:iso_dates",)):
            given = ("--tasks", *tasks) if tasks else ()
            out = str(tmp_path / "merged")
            return lorary("merge", trained_library, "--method", "lorahub", *given, "--out", out, *words)

        return run

    def test_the_merge_is_linear_with_the_weights_found(self, weigh, trained_library, tmp_path):
        code, output, said = weigh("--options", "num_steps=12", "penalty=0", "--rank", "full")
        assert code == 0, said
        expert = read_peft(str(tmp_path / "merged"))
        provenance = expert.card.provenance
        models = provenance["recipe"]["models"]
        weights = {row["model"]: row["parameters"]["weight"] for row in models}
        assert list(weights) == ["past_tense", "plurals", "prices"]
        assert any(weights.values()) and all(abs(weight) <= 1.5 for weight in weights.values())
        expected = merge(Library.open(trained_library), "linear", weights=weights, rank="full")
        assert same_weights(expert, expected)
        assert provenance["lorahub"]["loss"] < provenance["lorahub"]["base_loss"]
        assert f"loss on the examples {provenance['lorahub']['loss']:.3f}, base model" in output

    def test_a_dry_run_looks_at_no_example(self, weigh, tmp_path):
        code, output, _ = weigh("--dry-run", tasks=("/no/such/file.jsonl",))
        assert code == 0
        assert "linear on delta" in output
        assert "--tasks /no/such/file.jsonl --out" in output
        assert not (tmp_path / "merged").exists()

    @pytest.mark.parametrize(
        ("words", "tasks", "complaint"),
        [
            ((), (), "--method lorahub needs --tasks"),
            (
                ("--weights", "1,2,3"),
                ("generated:iso_dates",),
                "finds the weights itself: leave out --weights",
            ),
            (("--recipe", "x.yaml"), ("generated:iso_dates",), "leave out --recipe"),
            ((), ("generated:iso_dates", "generated:plurals"), "for one new task, found 2 in --tasks"),
            (("--options", "num_step=3"), ("generated:iso_dates",), "did you mean 'num_steps'?"),
            (("--options", "limit=0"), ("generated:iso_dates",), "limit must be above 0, found 0"),
        ],
    )
    def test_bad_input_is_refused_and_nothing_written(self, weigh, tmp_path, words, tasks, complaint):
        code, _, said = weigh(*words, tasks=tasks)
        assert code == 2
        assert complaint in said
        assert not (tmp_path / "merged").exists()

    def test_tasks_are_for_no_other_method(self, lorary, library):
        code, _, said = lorary("merge", library.url, "--tasks", "generated:plurals", "--out", "x")
        assert code == 2
        assert "--tasks gives --method lorahub and regmean their examples; no other method" in said


class TestRegmean:
    """A merge that looks at what each expert's layers are given."""

    TASKS = ("generated:plurals", "generated:prices", "generated:past_tense")

    @pytest.fixture
    def average(self, lorary, trained_library, tmp_path):
        """Merges into a folder, looking at examples of generated tasks."""

        def run(*words, tasks=self.TASKS):
            given = ("--tasks", *tasks) if tasks else ()
            return lorary("merge", trained_library, *words, *given, "--out", str(tmp_path / "merged"))

        return run

    def test_inputs_are_those_of_examples_of_each_experts_task(self, average, trained_library, tmp_path):
        code, _, said = average("--method", "regmean", "--rank", "full")
        assert code == 0, said
        library = Library.open(trained_library)
        base = load_base(library["plurals"].base_model)
        tasks = generate_tasks(list(library))
        examples = prepare_examples(base.tokenizer, tasks, find_template("plain"))
        texts = {
            name: [(*one.prompt_ids, *one.target_ids) for one in examples[name].train] for name in library
        }
        inputs = collect_inputs(attach_experts(base.model, dict(library)), texts)
        expected = merge(library, "regmean", activations=inputs, rank="full")
        found = read_peft(str(tmp_path / "merged"))
        for path, pair in expected.factors.items():
            torch.testing.assert_close(found.factors[path].b, pair.b)
        assert found.card.parents == tuple(library)

    def test_a_recipe_may_ask_for_it(self, average, tmp_path):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("merge_method: regmean\nmodels: [{model: plurals}, {model: prices}]\n")
        code, _, said = average("--recipe", str(recipe))
        assert code == 0, said
        assert read_peft(str(tmp_path / "merged")).card.parents == ("plurals", "prices")

    def test_an_expert_whose_task_is_not_there_is_named(self, average, tmp_path):
        code, _, said = average("--method", "regmean", tasks=self.TASKS[:1])
        assert code == 2
        assert "--tasks has none for expert 'past_tense' and 1 more" in said
        assert not (tmp_path / "merged").exists()

    def test_a_dry_run_looks_at_no_example(self, average, tmp_path):
        code, output, said = average("--method", "regmean", "--dry-run")
        assert code == 0, said
        assert "--tasks generated:plurals" in output
        assert not (tmp_path / "merged").exists()
