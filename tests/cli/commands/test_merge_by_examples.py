"""Merging methods that look at examples: LoRAHub and RegMean."""

import warnings

import pytest
import torch

from lorary.data import find_template
from lorary.data.synthetic import generate_tasks
from lorary.experts import read_peft, write_peft
from lorary.facts import collect_inputs
from lorary.library import Library
from lorary.models import attach_experts, load_base
from lorary.training import prepare_examples
from lorary.transforms import merge


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
        assert all(torch.equal(expert.factors[path].b, pair.b) for path, pair in expected.factors.items())
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
                "computes the weights itself: leave out --weights",
            ),
            (("--recipe", "x.yaml"), ("generated:iso_dates",), "leave out --recipe"),
            ((), ("generated:iso_dates", "generated:plurals"), "needs one task, found 2"),
            (("--options", "num_step=3"), ("generated:iso_dates",), "did you mean 'num_steps'?"),
            (("--options", "limit=0"), ("generated:iso_dates",), "limit must be positive, found 0"),
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
        assert "only --method lorahub and regmean use the examples of --tasks" in said


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

    @pytest.mark.parametrize("kind", ["text part inside", "text part outside", "torch.compile"])
    def test_experts_of_other_classes_and_wrappers_are_merged_as_without(
        self, lorary, average, trained_library, tmp_path, kind
    ):
        """Experts whose paths have `language_model` were refused after all inputs had been collected."""
        new_path = {
            "text part inside": lambda path: path.replace("model.", "model.language_model.", 1),
            "text part outside": lambda path: f"language_model.{path}",
            "torch.compile": lambda path: f"_orig_mod.{path}",
        }[kind]
        library = Library.open(str(tmp_path / "other"), create=True)
        for name, expert in Library.open(trained_library).items():
            write_peft(
                expert.rename_modules({path: new_path(path) for path in expert.factors}), tmp_path / name
            )
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*are read without the names of wrappers")
                library.add(read_peft(tmp_path / name))
        assert average("--method", "regmean", "--rank", "full")[0] == 0
        expected = read_peft(str(tmp_path / "merged"))
        words = ("--method", "regmean", "--rank", "full", "--out", str(tmp_path / "again"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*trained on another class of model")
            code, _, said = lorary("merge", library.url, *words, "--tasks", *self.TASKS)
        assert code == 0, said
        found = read_peft(str(tmp_path / "again"))
        paths = {path: path if kind == "torch.compile" else new_path(path) for path in expected.factors}
        assert found.factors.keys() == set(paths.values())
        for path, pair in expected.factors.items():
            torch.testing.assert_close(found.factors[paths[path]].b, pair.b)

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
