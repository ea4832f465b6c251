"""PEFT's Poly folders, read and written."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts import read_peft
from lorary.experts.skills import SkillSet, read_poly, write_poly

FAMILIES = {
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt_neox": ["query_key_value", "dense_4h_to_h"],
    "phi": ["q_proj", "fc1"],
}
ENDS = ("q_proj", "down_proj", "query_key_value", "dense_4h_to_h")


@pytest.fixture
def poly_folder(tmp_path, build_base, make_poly):
    """A small Poly adapter on disk."""
    make_poly(build_base(), target_modules=["q_proj"]).save_pretrained(tmp_path / "poly")
    return tmp_path / "poly"


def edit_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def run_peft(model, task):
    ids = torch.randint(3, 96, (2, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model(input_ids=ids, task_ids=torch.tensor([task, task])).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("splits", "rank"), [(1, 4), (8, 3), (16, 1)])
def test_a_folder_of_peft_gives_its_logits(
    tmp_path, build_base, make_poly, fold_dense, compute_logits, family, splits, rank
):
    base = build_base(family)
    model = make_poly(base, target_modules=FAMILIES[family], n_splits=splits, r=rank)
    model.save_pretrained(tmp_path / "poly")
    skill_set = read_poly(tmp_path / "poly", tasks=["sql", "poetry", "law"])
    for number, task in enumerate(skill_set.table.tasks):
        expected = run_peft(model, number)
        assert (expected - compute_logits(base)).abs().max() > 1e-2
        found = compute_logits(fold_dense(base, skill_set.task_expert(task)))
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("granularity", ["model", "block", "layer", "linear"])
@pytest.mark.parametrize(("splits", "rank"), [(1, 3), (8, 4)])
def test_peft_gives_the_logits_of_written_skills(
    tmp_path,
    peft,
    build_base,
    linear_shapes,
    make_skill_set,
    fold_dense,
    compute_logits,
    family,
    granularity,
    splits,
    rank,
):
    base = build_base(family)
    shapes = {path: (rank, *sizes) for path, sizes in linear_shapes(base, *ENDS).items()}
    skill_set = make_skill_set(shapes, num_splits=splits, granularity=granularity)
    write_poly(skill_set, tmp_path / "poly")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "poly").eval()
    for number, task in enumerate(skill_set.table.tasks):
        expected = compute_logits(fold_dense(base, skill_set.task_expert(task)))
        assert (expected - compute_logits(base)).abs().max() > 1e-2
        torch.testing.assert_close(run_peft(model, number), expected, atol=5e-5, rtol=1e-4)


def test_64_splits_of_rank_1_have_pefts_logits_both_ways(
    tmp_path, peft, tiny_config, make_poly, fold_dense, compute_logits
):
    """T0's setting of MHR."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(
        tiny_config("llama", hidden_size=64, intermediate_size=128)
    ).eval()
    model = make_poly(base, target_modules=["q_proj", "down_proj"], n_splits=64, r=1)
    model.save_pretrained(tmp_path / "poly")
    skill_set = read_poly(tmp_path / "poly")
    assert skill_set.table.num_splits == 64 and skill_set.skills[0].max_rank == 1
    write_poly(skill_set, tmp_path / "again")
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "again").eval()
    for number, task in enumerate(skill_set.table.tasks):
        expected = run_peft(model, number)
        assert (expected - compute_logits(base)).abs().max() > 1e-2
        found = compute_logits(fold_dense(base, skill_set.task_expert(task)))
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(run_peft(again, number), expected, atol=2e-5, rtol=1e-4)


def test_skills_that_are_written_and_read_are_the_same(tmp_path, make_skill_set):
    skill_set = make_skill_set({"model.layers.0.self_attn.q_proj": (4, 8, 8), "lm_head": (4, 8, 12)})
    write_poly(skill_set, tmp_path / "poly")
    again = read_poly(tmp_path / "poly", tasks=skill_set.table.tasks, name="skill")
    assert [skill.name for skill in again.skills] == ["skill-0", "skill-1", "skill-2"]
    assert again.table.num_splits == 2
    for path, logits in skill_set.table.logits.items():
        assert torch.equal(again.table.logits[path], logits)
        for mine, theirs in zip(skill_set.skills, again.skills, strict=True):
            assert torch.equal(mine.factors[path].a, theirs.factors[path].a)
            assert torch.equal(mine.factors[path].b, theirs.factors[path].b)


def test_tasks_and_skills_have_numbers_where_there_are_no_names(poly_folder):
    skill_set = read_poly(poly_folder)
    assert skill_set.table.tasks == ("task-0", "task-1", "task-2")
    assert [skill.name for skill in skill_set.skills] == ["poly-0", "poly-1"]


def test_peft_cannot_represent_shared_skills_mixed_ranks_and_conv1d(tmp_path, make_skill_set):
    skill_set = make_skill_set({"h.0.q": (4, 8, 8), "h.0.v": (2, 8, 8)}, shared=True)
    card = replace(skill_set.skills[0].card, fan_in_fan_out=True)
    skills = [replace(skill, card=card) for skill in skill_set.skills]
    message = r"a shared skill; ranks differ between modules, \[2, 4\]; .* Conv1D: write the experts of tasks"
    with pytest.raises(UnsupportedAdapter, match=message):
        write_poly(SkillSet(skills, skill_set.table), tmp_path / "poly")


def test_a_folder_of_poly_is_no_single_expert_and_the_message_says_what_reads_it(poly_folder):
    with pytest.raises(UnsupportedAdapter, match="found 'POLY': read its skills and tasks with read_poly"):
        read_peft(poly_folder)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"peft_type": "LORA"}, UnsupportedAdapter, "must be of peft_type 'POLY'.* found 'LORA'"),
        ({"poly_type": "other"}, UnsupportedAdapter, "poly_type 'poly', found 'POLY' and 'other'"),
        ({"modules_to_save": ["x"]}, UnsupportedAdapter, "must have no modules_to_save"),
        ({"n_skills": 0}, FormatError, "must be whole numbers from 1, found"),
        ({"n_tasks": None}, FormatError, "must be whole numbers from 1, found"),
        ({"n_splits": 2}, FormatError, r"poly_lora_A of 'model.layers.0.self_attn.q_proj' must be \[2, 2, "),
        ({"r": 5}, FormatError, "must have the shapes of its configuration"),
        ({"n_tasks": 4}, FormatError, r"module_logits of .* must be \[4, 2\], found \[3, 2\]"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(poly_folder, changes, error, message):
    edit_config(poly_folder, **changes)
    with pytest.raises(error, match=message):
        read_poly(poly_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(min(tensors)), "poly_lora_A of .* found none"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "tensors of Poly layers only, found 'extra'"),
        (lambda tensors: tensors.clear(), "tensors of Poly layers only, found no tensors"),
        (lambda tensors: tensors[min(tensors)].fill_(torch.nan), "finite numbers"),
        (lambda tensors: tensors[max(tensors)].fill_(torch.inf), "module_logits of .* finite numbers"),
        (
            lambda tensors: tensors.update({n: t.long() for n, t in tensors.items()}),
            "finite numbers of float16",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(poly_folder, change, message):
    edit_tensors(poly_folder, change)
    with pytest.raises(FormatError, match=message):
        read_poly(poly_folder)


def test_tasks_must_be_as_many_as_rows(poly_folder):
    with pytest.raises(ValueError, match="must be 3 names, found 1"):
        read_poly(poly_folder, tasks=["sql"])
