"""Skills in a library: their tasks are named in calls, and no router chooses them."""

import json
from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.data import TokenizedExample
from lorary.errors import FormatError, LibraryError
from lorary.experts.skills import SkillSet, make_skill_set
from lorary.facts import embed_tasks
from lorary.library import Library
from lorary.library.skills import load_skills, store_skills
from lorary.models import fold
from lorary.training import TrainingExamples

TASKS = ("sql", "poésie", "a/b", "prices")


def make_set(base, draw_expert, name="skills", splits=2, tasks=TASKS):
    made = make_skill_set(
        [replace(draw_expert(base, f"{name}-{n}", rank=3), name=f"{name}-{n}") for n in range(3)],
        num_splits=splits,
        granularity="block",
    )
    torch.manual_seed(len(name))
    logits = {group: 4 * torch.randn(len(tasks), 3 * splits) for group in made.table.logits}
    return SkillSet(made.skills, replace(made.table, tasks=tasks, logits=logits))


@pytest.fixture
def skill_set(base, draw_expert):
    return make_set(base, draw_expert)


@pytest.fixture
def library(tmp_path, experts, skill_set):
    """Two experts and three skills; one expert has the name of a task."""
    library = Library.open(tmp_path / "lib", create=True)
    library.add(experts["prices"])
    library.add(experts["narrow"])
    store_skills(library, skill_set)
    return library


@pytest.fixture
def model(base, library):
    return load_model(base, library, router="arrow")


def find_logits(model, input_ids, experts):
    with torch.no_grad():
        return model(input_ids=input_ids, experts=experts).logits


def test_each_request_of_a_batch_may_name_its_task(model, skill_set, build_tiny_base, input_ids):
    choices = [
        {"task": "sql"},
        None,
        {"task": "a/b"},
        {"task": None},
        {"prices": 0.5, "narrow": 2.0},
        "prices",
    ]
    batch = input_ids[:1].repeat(len(choices), 1)
    found = find_logits(model, batch, choices)
    for row, task in ((0, "sql"), (2, "a/b"), (3, None)):
        alone = fold(build_tiny_base().model, skill_set.task_expert(task, "x"))
        with torch.no_grad():
            expected = alone(input_ids=input_ids[:1]).logits[0]
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(find_logits(model, batch, None)[1], found[1])


def test_a_task_and_an_expert_of_the_same_name_are_told_apart(model, skill_set, experts, input_ids):
    task, expert = (find_logits(model, input_ids, choice) for choice in ({"task": "prices"}, "prices"))
    assert not torch.allclose(task, expert, atol=1e-2)
    assert torch.allclose(find_logits(model, input_ids, {"prices": 1.0}), expert, atol=1e-5)


def test_an_expert_called_task_may_have_a_weight(base, experts, skill_set, input_ids):
    own = {"task": experts["prices"].rename("task"), "narrow": experts["narrow"]}
    model = load_model(base, own, router=None, skills=skill_set)
    weighted = find_logits(model, input_ids, {"task": 1})
    assert torch.equal(weighted, find_logits(model, input_ids, "task"))
    assert not torch.allclose(weighted, find_logits(model, input_ids, {"task": "sql"}), atol=1e-2)
    with pytest.raises(ValueError, match=r"must have a finite weight, found 'sql': for a task .* alone"):
        model.generate("a", experts={"task": "sql", "narrow": 1.0})


def test_tasks_are_listed_and_no_router_chooses_them(model, base):
    assert model.tasks == TASKS
    assert model.names == ("narrow", "prices")
    assert model.controls == ()
    assert model.explain("prices of tea").experts == ("narrow", "prices")
    assert model.generate(["ab", "cd"], experts=[{"task": "sql"}, "auto"], max_new_tokens=3)


def test_a_library_of_skills_only_has_tasks_and_no_router(base, tmp_path, skill_set, input_ids):
    library = Library.open(tmp_path / "skills", create=True)
    store_skills(library, skill_set)
    model = load_model(base, library)
    assert (model.names, model.tasks, model.routing[0]) == ((), TASKS, None)
    assert not torch.allclose(
        find_logits(model, input_ids, {"task": "sql"}), find_logits(model, input_ids, "auto"), atol=1e-2
    )
    with pytest.raises(LibraryError, match="only 3 skills"):
        load_model(model.detach(), library, router="arrow")


def test_routers_choose_among_tasks_or_skills_if_asked(base, library):
    model = load_model(base, library.routed("skill"), router="arrow")
    assert set(model.names) == {"narrow", "prices", "skills-0", "skills-1", "skills-2"}
    assert model.tasks == ()
    own = {task: load_skills(library).task_expert(task) for task in ("sql", "prices")}
    assert load_model(model.detach(), own, router="arrow").names == ("sql", "prices")


def test_of_several_sets_one_is_named(base, library, draw_expert, input_ids):
    store_skills(library, make_set(base, draw_expert, "more", splits=1, tasks=("law",)))
    model = load_model(base, library, router=None)
    assert model.tasks == ()
    with pytest.raises(ValueError, match=r"this model has no tasks, found .*'law'.*one set of skills"):
        model.generate("a", experts={"task": "law"})
    assert load_model(model.detach(), library, router=None, skills="more-1").tasks == ("law",)


def test_unknown_tasks_and_skills_without_a_library_are_refused(model, experts):
    with pytest.raises(ValueError, match=r"no task 'sqk' \(None takes .* mean row\): did you mean 'sql'"):
        model.generate("a", experts={"task": "sqk"})
    with pytest.raises(ValueError, match="skills by name, found 'skills-0', need a library"):
        load_model(model.detach(), experts, router=None, skills="skills-0")


def test_a_set_that_lacks_a_skill_has_no_tasks(base, library):
    del library["skills-1"]
    assert load_model(base, library, router=None).tasks == ()


def test_a_missing_table_is_refused_unless_skills_are_left_out(base, library, tmp_path):
    [table] = (tmp_path / "lib/.lorary/artifacts/task-table-1").iterdir()
    table.unlink()
    with pytest.raises(LibraryError, match=r"store the skills again, or load a model without them"):
        load_model(base, library, router=None)
    assert load_model(base, library, router=None, skills=None).tasks == ()


def test_tasks_stay_when_experts_come_and_go(model, experts, input_ids):
    before = find_logits(model, input_ids, {"task": "sql"})
    model.add_expert(experts["morse"])
    model.remove_expert("narrow")
    assert model.tasks == TASKS
    torch.testing.assert_close(find_logits(model, input_ids, {"task": "sql"}), before)


@pytest.mark.parametrize("has_experts", [True, False])
def test_a_saved_model_keeps_its_tasks(base, library, skill_set, tmp_path, input_ids, has_experts):
    model = load_model(
        base, library if has_experts else {}, router="arrow" if has_experts else None, skills=skill_set
    )
    expected = [find_logits(model, input_ids, choice) for choice in ({"task": "sql"}, {"task": None})]
    save_model(model, tmp_path / "saved", with_base=True)
    again = load_model(tmp_path / "saved", dtype=torch.float32)
    assert (again.tasks, again.names) == (TASKS, model.names)
    for choice, logits in zip(({"task": "sql"}, {"task": None}), expected, strict=True):
        torch.testing.assert_close(find_logits(again, input_ids, choice), logits, atol=1e-4, rtol=1e-4)
    save_model(again, tmp_path / "twice")


def test_a_saved_model_without_its_table_is_refused(model, tmp_path):
    save_model(model, tmp_path / "saved", with_base=True)
    described = json.loads((tmp_path / "saved/lorary_model.json").read_text())
    assert described["skills"] == ["skills-0", "skills-1", "skills-2"]
    [table] = (tmp_path / "saved/experts/.lorary/artifacts/task-table-1").iterdir()
    table.unlink()
    with pytest.raises(FormatError, match="is missing"):
        load_model(tmp_path / "saved")


def test_skills_that_are_experts_too_cannot_be_saved(base, library, tmp_path):
    model = load_model(base, library.routed("skill"), router=None, skills="skills-0")
    with pytest.raises(ValueError, match=r"must not be skills of the model's tasks too, found \['skills-0'"):
        save_model(model, tmp_path / "saved")


def test_the_nearest_task_of_a_prompt_has_the_most_similar_prompts(base, tmp_path, skill_set):
    texts = {"sql": "a a a a", "poésie": "zz z zz", "a/b": "1 2 3 4", "prices": "($ $)"}
    examples = {
        task: TrainingExamples(train=(TokenizedExample(tuple(base.tokenizer(text)["input_ids"]), (5,)),))
        for task, text in texts.items()
    }
    library = Library.open(tmp_path / "skills", create=True)
    store_skills(library, embed_tasks(base, skill_set, examples))
    model = load_model(base, library)
    assert model.nearest_tasks(list(texts.values())) == list(texts)
    assert model.nearest_tasks(["a a a"]) == ["sql"]
    save_model(model, tmp_path / "saved", with_base=True)
    assert load_model(tmp_path / "saved").nearest_tasks(["1 2 3"]) == ["a/b"]


def test_the_nearest_task_needs_embeddings_of_all_tasks(base, model, skill_set):
    with pytest.raises(ValueError, match=r"embed_tasks\(base, skill_set, examples\) before"):
        model.nearest_tasks(["a"])
    with pytest.raises(ValueError, match=r"must have training examples, found none for \['sql', "):
        embed_tasks(model.detach(), skill_set, {})
