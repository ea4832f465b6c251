import pytest
import torch

from lorary.assembly import load_model
from lorary.facts import find_task_facts
from lorary.facts.components import measure_components
from tests.facts.texts import take_for_examples

PROMPTS = {"morse": [[5, 6, 7, 8], [9]], "narrow": [[11, 12, 13], [5, 6, 20, 21]]}


@pytest.mark.parametrize("tokens_per_pass", [1, 1000])
@torch.no_grad()
def test_they_are_moments_of_readings_of_the_experts_own_prompts(
    model, experts, build_tiny_base, tokens_per_pass
):
    found = measure_components(model.stack, PROMPTS, tokens_per_pass=tokens_per_pass)
    bare = build_tiny_base().model
    for row, (name, prompts) in enumerate(PROMPTS.items()):
        for path, rows in found.items():
            seen = []
            handle = bare.get_submodule(path).register_forward_pre_hook(
                lambda _, given, seen=seen: seen.append(given[0][0, 1 if given[0].shape[1] > 1 else 0 :])
            )
            for ids in prompts:
                bare(input_ids=torch.tensor([ids]))
            handle.remove()
            means, deviations = rows[row].unflatten(0, (2, -1))
            if path not in experts[name].factors:
                assert not rows[row].any()
                continue
            a = experts[name].factors[path].a.double()
            readings = torch.cat(seen).double() @ a.T
            torch.testing.assert_close(means[: len(a)].double(), readings.mean(0), atol=1e-5, rtol=1e-4)
            deviation = readings.std(0, correction=0)
            torch.testing.assert_close(deviations[: len(a)].double(), deviation, atol=1e-5, rtol=1e-3)
            assert not means[len(a) :].any() and not deviations[len(a) :].any()


def test_they_follow_experts_to_models_of_other_ranks(build_tiny_base, experts, draw_expert, sequences):
    base = build_tiny_base()
    model = load_model(base, {name: experts[name] for name in ("dates", "morse")}, router=None)
    own = {name: sequences[name] for name in model.names}
    model.provide(find_task_facts(model, {}, take_for_examples(own), ["components"]))
    model.set_router("hilora")
    before = model.explain("plural of mouse").weights
    model.set_router(None)
    model.add_expert(draw_expert(build_tiny_base(), "late", rank=6))
    examples = take_for_examples({"late": [[5, 6, 7], [8, 9]]})
    model.provide(find_task_facts(model, {}, examples, ["components"]), names=["late"])
    model.set_router("hilora")
    assert model.explain("plural of mouse").weights.shape[-1] == 3
    model.set_router(None)
    model.remove_expert("late")
    model.set_router("hilora")
    torch.testing.assert_close(model.explain("plural of mouse").weights, before)
