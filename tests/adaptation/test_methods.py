"""Each method against a small reference."""

import math
from dataclasses import replace

import pytest
import torch

from lorary.adaptation import adapt, retrieve
from lorary.adaptation.methods.contract import Context
from lorary.adaptation.methods.weighted import sum_experts
from lorary.adaptation.retrieval import RetrievalContext
from lorary.assembly import load_model
from lorary.experts.seeds import seed_for
from lorary.experts.skills import make_skill_set
from lorary.experts.skills.task_table import name_group
from lorary.library import Library
from lorary.library.skills import store_skills
from lorary.models import attach_experts, find_layers
from lorary.training import SkillConfig, fit_config, train_skills
from lorary.training.loop.schedule import plan_batches
from lorary.training.objectives import few_shot
from lorary.transforms import merge

from .conftest import GENERIC, NAMES

AS_IT_IS = {"max_steps": 0}
# The sum of the ranks of all experts: a weighted sum is not cut.
EXACT = {"rank": 6, "train": AS_IT_IS}


def dense(expert):
    return {path: (b.double() @ a.double()) for path, (a, b) in expert.factors.items()}


def assert_same_change(found, expected):
    for path, change in expected.items():
        torch.testing.assert_close(dense(found)[path], change.double(), rtol=1e-4, atol=1e-5)


@pytest.fixture
def start_of(run, few, tmp_path):
    """The start of a method's training, from a run without steps."""

    def find(method, **changes):
        found = run(method, tmp_path / method, examples={"greek": few["greek"]}, **{**EXACT, **changes})
        return found.tasks["greek"]

    return find


def test_a_fresh_expert_changes_nothing_before_its_first_step(start_of):
    assert not any(change.any() for change in dense(start_of("fresh").expert).values())


def test_nearest_starts_with_the_best_of_the_retrieval(start_of, tiny, library, few):
    context = RetrievalContext(
        base=tiny,
        experts=library,
        task="greek",
        examples=few["greek"],
        router_options={"generic": GENERIC},
    )
    expected = retrieve(context)
    found = start_of("nearest")
    assert list(found.scores.items()) == list(expected.scores)
    assert found.expert.card.parents == (expected.names[0],)
    assert found.num_read == expected.num_tokens == sum(len(e.prompt_ids) for e in few["greek"].train)
    assert_same_change(found.expert, dense(library[expected.names[0]]))


def test_average_starts_with_the_mean_of_weight_changes(start_of, library):
    changes = [dense(expert) for expert in library.values()]
    mean = {path: sum(change[path] for change in changes) / 4 for path in changes[0]}
    found = start_of("average")
    assert found.weights == dict.fromkeys(NAMES, 0.25) and found.error < 1e-6
    assert_same_change(found.expert, mean)


def test_a_start_is_cut_to_the_rank_with_the_error_that_is_told(start_of, library):
    changes = [dense(expert) for expert in library.values()]
    found = start_of("average", rank=2)
    cut = whole = 0.0
    for path in changes[0]:
        singular = torch.linalg.svdvals(sum(change[path] for change in changes) / 4)
        cut, whole = cut + float(singular[2:].square().sum()), whole + float(singular.square().sum())
    assert found.error == pytest.approx(math.sqrt(cut / whole), rel=1e-4)
    assert found.expert.max_rank == 2
    assert found.expert.card.provenance["adaptation"]["relative_error"] == found.error


def test_wudi_starts_with_that_merge(start_of, library):
    merged = merge(library, "wudi", rank="full", layers="all")
    assert_same_change(start_of("wudi").expert, dense(merged))


def test_multi_task_starts_with_the_named_expert(start_of, library):
    found = start_of("multi-task", multi_task="morse")
    assert found.expert.card.parents == ("morse",)
    assert_same_change(found.expert, dense(library["morse"]))


def test_arrow_starts_with_the_mean_weights_of_its_tokens(start_of, tiny, library, few):
    texts = [[*example.prompt_ids, *example.target_ids] for example in few["greek"].train]
    model = load_model(tiny, library, router="arrow")
    try:
        sums, seen = {}, []
        handles = [
            layer.register_forward_hook(
                lambda layer, inputs, output, path=path: seen.append(
                    (path, inputs[0].reshape(-1, inputs[0].shape[-1]))
                )
            )
            for path, layer in model.stack.layers.items()
        ]
        router = model.router("arrow")
        for text in texts:
            model(torch.tensor([text]))
        for handle in handles:
            handle.remove()
        for path, x in seen:
            indices, weights = router.routers[path](x)
            for row, own in zip(indices.tolist(), weights.tolist(), strict=True):
                for place, weight in zip(row, own, strict=True):
                    sums.setdefault(path, dict.fromkeys(model.names, 0.0))[model.names[place]] += weight
    finally:
        model.detach()
    found = start_of("arrow")
    num_tokens = sum(map(len, texts))
    assert found.num_read == num_tokens
    expected = {}
    for path, own in sums.items():
        for name, total in own.items():
            assert found.weights[path][name] == pytest.approx(total / num_tokens, abs=1e-5)
        expected[path] = sum(total / num_tokens * dense(library[name])[path] for name, total in own.items())
    assert_same_change(found.expert, expected)


def test_calibrated_starts_with_the_mean_weights_of_its_prompts(start_of, tiny, library, few):
    model = load_model(tiny, library, router="calibrated", generic=GENERIC)
    try:
        totals = dict.fromkeys(NAMES, 0.0)
        for example in few["greek"].train:
            indices, weights = model.decider.decide_prompts([example.prompt_ids])
            for place, weight in zip(indices[0].tolist(), weights[0].tolist(), strict=True):
                totals[model.names[place]] += weight / len(few["greek"].train)
    finally:
        model.detach()
    found = start_of("calibrated")
    assert found.weights == pytest.approx(totals, abs=1e-6)
    assert_same_change(
        found.expert,
        {
            path: sum(totals[name] * dense(library[name])[path] for name in NAMES)
            for path in dense(library["sql"])
        },
    )


@pytest.mark.parametrize("granularity", ["model", "block", "layer", "linear"])
def test_weights_are_trained_as_by_the_book(run, tiny, library, few, tmp_path, granularity):
    task, settings = few["greek"], {"validate_every": None, "patience": None, "schedule": "constant"}
    found = run(
        "weights",
        tmp_path,
        examples={"greek": task},
        granularity=granularity,
        weights_learning_rate=0.05,
        train={**settings, "warmup_ratio": 0.0, "max_grad_norm": 0.1},
    ).tasks["greek"]
    groups = {path: name_group(path, granularity) for path in dense(library["sql"])}
    weights = {group: torch.full([4], 0.25, requires_grad=True) for group in groups.values()}
    layers, hooks = find_layers(tiny.model, "all-linear"), []
    for path, layer in layers.items():
        changes = torch.stack([dense(library[name])[path].float() for name in NAMES])
        hooks.append(
            layer.register_forward_hook(
                lambda layer, inputs, output, own=weights[groups[path]], changes=changes: (
                    output + inputs[0] @ torch.einsum("e,eoi->oi", own, changes).T
                )
            )
        )
    optimizer = torch.optim.AdamW(weights.values(), lr=0.05, weight_decay=0.0)
    lengths = [len(example) for example in task.train]
    for batch in plan_batches(lengths, 2, seed=seed_for(0, "greek"), max_steps=4):
        optimizer.zero_grad()
        compute_loss(tiny.model, [task.train[index] for index in batch]).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 0.1)
        optimizer.step()
    for hook in hooks:
        hook.remove()
    for group, own in weights.items():
        expected = dict(zip(NAMES, own.tolist(), strict=True))
        assert found.weights[group] == pytest.approx(expected, abs=2e-4)
    for path, change in dense(found.expert).items():
        expected = sum(found.weights[groups[path]][name] * dense(library[name])[path] for name in NAMES)
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-5)


def compute_loss(model, examples):
    losses = []
    for example in examples:
        ids = torch.tensor([[*example.prompt_ids, *example.target_ids]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(example.prompt_ids) - 1 : -1]
        losses.append(
            torch.nn.functional.cross_entropy(logits, torch.tensor(example.target_ids), reduction="sum")
        )
    return sum(losses) / sum(len(example.target_ids) for example in examples)


def test_lorahub_keeps_the_best_try_and_makes_that_sum(run, tiny, library, few, tmp_path):
    examples = {"greek": few["greek"]}
    found = run("lorahub", tmp_path, examples=examples, penalty=0.0, train={"max_steps": 30}).tasks["greek"]
    best = min(loss for _, loss in found.progress.train_curve)
    stack = attach_experts(tiny.model, {"greek": found.expert})
    try:
        with stack.assign(["greek"]):
            assert float(compute_loss(tiny.model, few["greek"].train)) == pytest.approx(best, rel=1e-4)
    finally:
        stack.detach()
    assert best < found.progress.train_curve[0][1]
    assert all(abs(weight) <= 1.5 for weight in found.weights.values())
    again = run(
        "lorahub", tmp_path / "cut", examples=examples, penalty=0.0, mixed_rank=1, train={"max_steps": 30}
    )
    assert again.experts["greek"].max_rank == 1 and again.tasks["greek"].error > 0


@pytest.mark.parametrize("method", ["poly", "poly-z", "mhr-z"])
def test_the_experts_are_skills_of_that_training(run, tiny, library, few, tmp_path, method):
    found = run(method, tmp_path / "a", examples={"greek": few["greek"]}, num_splits=2, rank=2)
    num_splits = 2 if method == "mhr-z" else 1
    start = make_skill_set(list(library.values()), num_splits=num_splits)
    config = SkillConfig(train=found_config(found), trained="table" if method.endswith("z") else "all")
    outcome = train_skills(
        tiny,
        {"greek": few["greek"]},
        fit_config(config, start),
        tmp_path / "b",
        start=start,
        name="greek",
    )
    expected = outcome.task_expert("greek")
    for path, (a, b) in found.experts["greek"].factors.items():
        assert torch.equal(a, expected.factors[path].a) and torch.equal(b, expected.factors[path].b)
    assert outcome.progress == found.tasks["greek"].progress


def test_a_grid_is_trained_whole_and_all_its_tokens_count(run, few, tmp_path, monkeypatch):
    monkeypatch.setattr(few_shot, "NUM_STEPS", 3)
    examples, early = {"greek": few["greek"]}, {"validate_every": 1, "patience": 1}
    found = run("poly-z", tmp_path, examples=examples, protocol="grid", train=early).tasks["greek"]
    done = sorted(folder.name for folder in (tmp_path / "training" / "greek").iterdir())
    assert done == ["table-0.1-skills-0.01", "table-0.5-skills-0.01"]
    assert found.progress.step == 3 and found.num_tokens == 2 * found.progress.tokens
    card = found.expert.card
    assert card.provenance["adaptation"]["protocol"] == "grid"
    assert card.scores["validation_loss"] == found.progress.best_loss
    without = replace(few["greek"], validation=())
    with pytest.raises(ValueError, match="task 'greek' must have validation examples, found none"):
        run("poly-z", tmp_path / "none", examples={"greek": without}, protocol="grid", train=AS_IT_IS)


def found_config(found):
    from lorary.training import TrainConfig

    return TrainConfig(**found.experts["greek"].card.provenance["training"]["train"])


def test_a_trained_set_of_skills_is_adapted_from_its_mean_row(run, tiny, few, tmp_path):
    train = {"batch_size": 2, "max_steps": 3, "rank": 2, "learning_rate": 0.05}
    from lorary.training import TrainConfig

    config = SkillConfig(train=TrainConfig(**train), num_skills=3)
    trained = train_skills(tiny, {"colours": few["colours"]}, config, tmp_path / "run").skill_set
    library = Library.open(tmp_path / "library", create=True)
    store_skills(library, trained)
    found = run(
        "poly",
        tmp_path / "adapted",
        experts=library,
        examples={"greek": few["greek"]},
        skills="skills-0",
        train=AS_IT_IS,
    ).tasks["greek"]
    assert found.expert.card.parents == ("skills-0", "skills-1", "skills-2")
    assert_same_change(found.expert, dense(trained.task_expert(None, "greek")))


def test_retrieval_chooses_what_a_method_uses(run, tiny, library, few, tmp_path):
    found = run("average", tmp_path, retrieve=2, by="random")
    for name, task in found.tasks.items():
        context = RetrievalContext(base=tiny, experts=library, task=name, examples=few[name])
        expected = retrieve(context, num=2, by="random")
        assert dict(task.scores) == dict(expected.scores)
        assert set(task.expert.card.parents) == set(expected.names)
        assert task.num_read == 0


def test_results_that_are_stored_in_the_library_do_not_change_the_next_run(run, library, few, tmp_path):
    stored = Library.open(tmp_path / "library", create=True)
    for expert in library.values():
        stored.add(expert)
    examples = {"greek": few["greek"]}
    one = run("average", tmp_path / "run", experts=stored, examples=examples)
    stored["new"] = one.experts["greek"].rename("new")
    again = run("average", tmp_path / "run", experts=stored, examples=examples)
    assert again.tasks["greek"].scores == one.tasks["greek"].scores
    other = run("average", tmp_path / "other", experts=stored, examples={"colours": few["colours"]})
    assert "new" in other.tasks["colours"].scores


def test_weighted_sums_of_mixed_ranks_and_layers_are_exact(tiny, library, configure, tmp_path):
    context = Context(
        base=tiny,
        experts=library,
        config=configure("weights"),
        train=configure("weights").train,
        folder=tmp_path,
    )
    weights = {"sql": 0.5, "dates": -1.5, "poetry": 0.0}
    found, error = sum_experts(context, "sum", weights, "model")
    assert error == 0.0
    assert_same_change(
        found,
        {
            path: sum(weight * dense(library[name])[path] for name, weight in weights.items())
            for path in dense(library["sql"])
        },
    )


def test_adapt_leaves_out_nothing_of_a_plain_mapping(tiny, library, few, configure, tmp_path):
    found = adapt(tiny, library, few, configure("average"), tmp_path)
    assert list(found.tasks["greek"].scores) == NAMES
