"""Bad input, with clear messages."""

import json
from dataclasses import replace

import pytest
import torch

from lorary.adaptation import METHODS, RETRIEVALS, AdaptConfig, adapt
from lorary.errors import DataError, IncompatibleExpert, LibraryError, TrainingError
from lorary.experts import Factors, write_peft
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.whole import WholePart
from lorary.experts.skills import make_skill_set
from lorary.library import Library
from lorary.library.skills import store_skills
from lorary.training import TrainingExamples


def test_faults_of_the_configuration_are_told_together():
    with pytest.raises(ValueError, match="adaptation: ") as caught:
        AdaptConfig(method="nearst", by="cosin", retrieve=0, granularity="head", penalty=-1, protocol="paper")
    message = str(caught.value)
    assert "no method is named 'nearst': did you mean 'nearest'" in message
    assert "no retrieval is named 'cosin': did you mean 'cosine'" in message
    assert "retrieve must be at least 1, found 0" in message
    assert "granularity must be one of model, block, layer, linear, found 'head'" in message
    assert "protocol must be one of given, fixed, grid, found 'paper'" in message
    assert "penalty must be at least 0, found -1" in message


def test_every_method_has_the_settings_that_exist():
    fields = set(AdaptConfig.__dataclass_fields__)
    for name, method in METHODS.items():
        assert set(method.settings) <= fields, name
        assert method.summary and not method.summary.endswith(".")
    used = {setting for method in METHODS.values() for setting in method.settings}
    assert fields - used == {"method", "train", "rank"}
    assert set(RETRIEVALS)


def test_faults_of_tasks_and_experts_are_told_together(run, few, tmp_path):
    with pytest.raises(ValueError, match="adaptation: ") as caught:
        run("average", tmp_path, retrieve=9, examples={**few, "none": TrainingExamples(train=())})
    assert str(caught.value) == (
        "adaptation: task 'none' must have at least one training example, found none; retrieve must be at "
        "most 4 experts, all that there are, found 9"
    )
    assert not any(tmp_path.iterdir())


def test_no_task_and_no_example_are_faults_of_data(run, tmp_path):
    with pytest.raises(DataError, match="at least one task, found none"):
        run("fresh", tmp_path, examples={})
    with pytest.raises(DataError, match="'none' must have at least one training example"):
        run("fresh", tmp_path, examples={"none": TrainingExamples(train=())})


def test_an_empty_library_is_enough_for_methods_that_use_none(run, few, tmp_path):
    empty = Library.open(tmp_path / "library", create=True)
    with pytest.raises(ValueError, match=r"'nearest' needs a library with at least one expert, .*'fresh'"):
        run("nearest", tmp_path / "a", experts=empty)
    assert run("fresh", tmp_path / "b", experts=empty, examples={"greek": few["greek"]}).experts


def test_experts_of_another_base_are_refused(run, library, tmp_path):
    others = {name: expert.with_base("org/other", fingerprint="x") for name, expert in library.items()}
    with pytest.raises(IncompatibleExpert, match="org/other"):
        run("average", tmp_path, experts=others)
    with pytest.warns(UserWarning, match="org/other"):
        found = run("average", tmp_path, experts=others, told={"trust_base": True})
    assert found.experts["greek"].base_model == "tiny-0"


def test_a_multi_task_expert_must_be_named_and_there(run, tmp_path):
    with pytest.raises(ValueError, match=r"needs the name of the expert .* \(--multi-task NAME\)"):
        run("multi-task", tmp_path)
    with pytest.raises(
        ValueError, match="multi_task must be an expert of the library, found 'morze': did you mean"
    ):
        run("multi-task", tmp_path, multi_task="morze")


def test_skills_must_be_a_stored_set_that_suits_the_method(run, library, tmp_path):
    with pytest.raises(LibraryError, match="skills 'sql' must be in a library"):
        run("poly", tmp_path / "a", skills="sql")
    stored = Library.open(tmp_path / "library", create=True)
    store_skills(stored, make_skill_set([library["morse"], library["sql"]], num_splits=2))
    with pytest.raises(
        ValueError, match=r"retrieve cannot be combined .*'poly' needs skills with 1 split, .* 2"
    ):
        run("poly", tmp_path / "b", experts=stored, skills="sql", retrieve=1)
    with pytest.raises(LibraryError, match="a skill 'law'"):
        run("mhr", tmp_path / "c", experts=stored, skills="law")
    stored["sql"] = library["dates"].rename("sql")
    with pytest.raises(LibraryError):
        run("mhr", tmp_path / "d", experts=stored, skills="morse")


def test_experts_of_other_kinds_are_left_out_or_refused(run, library, few, tmp_path):
    path = "model.layers.0.self_attn.q_proj"
    other = replace(library["sql"], name="scaled", parts={path: (DoraPart(torch.ones(16)),)})
    experts, examples = {**library, "scaled": other}, {"greek": few["greek"]}
    with pytest.warns(UserWarning, match=r"adaptation uses experts of low-rank .* 'scaled', which has DoRA"):
        found = run("average", tmp_path / "a", experts=experts, examples=examples)
    assert "scaled" not in found.tasks["greek"].scores
    with pytest.raises(IncompatibleExpert, match="adaptation needs experts of low-rank factors only"):
        run("average", tmp_path / "b", experts={"scaled": other}, examples=examples)
    with pytest.raises(IncompatibleExpert, match=r"method 'multi-task' needs .* 'scaled' has"):
        run("multi-task", tmp_path / "c", experts=experts, examples=examples, multi_task="scaled")


def draw_head(tiny, library, name, weight):
    """Return an expert that also has factors of the output layer, and a copy of its weight."""
    outputs, inputs = weight.shape
    factors = {**library[name].factors, "lm_head": Factors(torch.ones(1, inputs), torch.ones(outputs, 1))}
    parts = {"lm_head": (WholePart(weight=weight, is_copy=True),)}
    return replace(library[name], name="headed", factors=factors, parts=parts)


def test_an_expert_with_a_changed_copy_of_the_output_layer_is_left_out(run, tiny, library, few, tmp_path):
    """Guards an error without words, "tuple.index(x): x not in tuple", and a merge of half an expert."""
    weight = tiny.model.lm_head.weight.detach() + 0.5
    experts = {**library, "headed": draw_head(tiny, library, "sql", weight)}
    for method in ("nearest", "average"):
        with pytest.warns(
            UserWarning, match=r"leaves out 1 other, such as 'headed', which has trained weights"
        ):
            found = run(method, tmp_path / method, experts=experts, examples={"greek": few["greek"]})
        assert "headed" not in found.tasks["greek"].scores


@pytest.mark.parametrize("changes", [{}, {"retrieve": 5, "by": "random"}])
def test_an_expert_with_layers_that_are_not_trained_is_named(run, tiny, library, few, tmp_path, changes):
    """Guards an error about an expert 'merged', which nobody has."""
    expert = draw_head(tiny, library, "sql", tiny.model.lm_head.weight.detach().clone())
    experts = {**library, "headed": expert}
    experts["headed"] = replace(expert, parts={})
    with pytest.raises(IncompatibleExpert, match=r"expert 'headed' cannot be a start: .* such as 'lm_head'"):
        run("average", tmp_path, experts=experts, examples={"greek": few["greek"]}, **changes)


def test_a_rank_that_no_layer_can_have_is_refused(run, few, tmp_path):
    with pytest.raises(
        ValueError, match=r"adaptation: rank must be at most \d+, .* found 100,000: use a lower"
    ):
        run("fresh", tmp_path, examples={"greek": few["greek"]}, rank=100_000)


def test_a_budget_without_one_try_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"reads all 37 tokens .* 'greek' in each try, and 29 are left"):
        run("lorahub", tmp_path, train={"max_steps": 1})


def test_a_folder_of_another_run_is_refused(run, library, tmp_path):
    run("fresh", tmp_path)
    with pytest.raises(
        TrainingError,
        match=r"has another run, which differs in configuration train seed \(0 there, 1 here\): use another",
    ):
        run("fresh", tmp_path, train={"seed": 1})
    found = run("fresh", tmp_path, train={"seed": 1}, told={"fresh": True})
    assert found.experts


def test_a_folder_with_other_options_of_the_router_is_refused(tiny, library, few, configure, tmp_path):
    """Guards scores that were read from the folder of a run with other options."""
    first, other = ({"generic": texts} for texts in (("one text", "and another"), ("other", "texts")))
    adapt(tiny, library, few, configure("nearest"), tmp_path, router_options=first)
    with pytest.raises(TrainingError, match="differs in router options"):
        adapt(tiny, library, few, configure("nearest"), tmp_path, router_options=other)


@pytest.mark.parametrize("file", ["retrieved.json", "starts.json", "adapt.json"])
def test_changed_files_of_a_run_are_refused(run, few, tmp_path, file):
    examples = {"greek": few["greek"]}
    run("average", tmp_path, examples=examples)
    path = tmp_path / file
    path.write_text(path.read_text().replace("dates", "bates"))
    with pytest.raises(TrainingError, match=file if file != "adapt.json" else "differs in experts"):
        run("average", tmp_path, examples=examples)


def test_a_changed_start_is_refused(run, library, few, tmp_path):
    examples = {"greek": few["greek"]}
    run("average", tmp_path, examples=examples)
    start = tmp_path / "starts" / "greek"
    (start / "adapter_model.safetensors").unlink()
    with pytest.raises(TrainingError, match="starts"):
        run("average", tmp_path, examples=examples)


def test_controls_have_the_rank_of_other_methods(run, tiny, draw_expert, library, few, tmp_path):
    stored = Library.open(tmp_path / "library", create=True)
    for expert in library.values():
        stored.add(expert)
    stored.add(draw_expert(tiny, "all", rank=4, role="merge"))
    path = "model.layers.0.self_attn.q_proj"
    wide = draw_expert(tiny, "scaled", rank=5, targets=[path])
    stored.add(replace(wide, parts={path: (DoraPart(torch.ones(16)),)}))
    examples = {"greek": few["greek"]}
    control = run("fresh", tmp_path / "a", experts=stored, examples=examples).experts["greek"]
    assert control.max_rank == 2
    named = run("multi-task", tmp_path / "b", experts=stored, examples=examples, multi_task="all")
    assert named.experts["greek"].max_rank == 2


def test_an_adapter_of_another_scale_is_another_run(run, library, tmp_path):
    """The finished run of the old scale was read, if an adapter copied in by hand has another lora_alpha."""
    folder = tmp_path / "lib" / "sql"
    experts = Library.open(str(tmp_path / "lib"), create=True)
    write_peft(library["sql"], folder)
    (folder / "expert.json").unlink()
    told = {"trust_base": True}
    run("average", tmp_path / "run", experts=experts, told=told)
    settings = folder / "adapter_config.json"
    changed = {**json.loads(settings.read_text()), "lora_alpha": 77}
    settings.write_text(json.dumps(changed))
    with pytest.raises(TrainingError, match="has another run, which differs in experts"):
        run("average", tmp_path / "run", experts=experts, told=told)
