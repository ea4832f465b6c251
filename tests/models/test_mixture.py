"""Experts of mixtures with stacked weights: by name, routed, merged and folded, against PEFT."""

import copy

import pytest
import torch

from lorary.assembly import load_model
from lorary.data import TokenizedExample
from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.models import attach_experts, fold, wrap_base
from lorary.models.capture import capture_inputs
from lorary.models.grow import drop_expert, insert_expert
from lorary.passes import find_layout, score_pass, split_passes
from lorary.transforms import merge
from tests.mixtures import KINDS, build_mixture, load_with_peft, write_adapter
from tests.test_architectures import make_tokenizer

IDS = torch.randint(3, 96, (4, 7), generator=torch.Generator().manual_seed(2))
pytestmark = pytest.mark.filterwarnings("ignore:expert .* names no base model", "ignore:Using the explicit")


def run(model, input_ids=IDS):
    with torch.no_grad():
        return model(input_ids=input_ids, use_cache=False).logits


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def base(kind):
    return build_mixture(kind.model_type)


@pytest.fixture
def folder(base, kind, tmp_path):
    return write_adapter(base, kind, tmp_path / "poetry")


@pytest.fixture
def mixtral():
    return build_mixture("mixtral")


@pytest.fixture
def two(mixtral, tmp_path):
    """One adapter of today and one of earlier versions."""
    return {
        "poetry": read_peft(
            write_adapter(mixtral, KINDS["mixtral"], tmp_path / "poetry", 1), base_model="mixtral"
        ),
        "sql": read_peft(
            write_adapter(mixtral, KINDS["old mixtral"], tmp_path / "sql", 2), base_model="mixtral"
        ),
    }


def draw_plain(base, name="plain"):
    """An expert of attention only."""
    generator = torch.Generator().manual_seed(7)
    factors = {}
    for path, layer in base.named_modules():
        if path.endswith("q_proj"):
            width_out, width_in = layer.weight.shape
            a = torch.randn(2, width_in, generator=generator)
            factors[path] = Factors(a * 0.3, torch.randn(width_out, 2, generator=generator) * 0.3)
    return Expert(name, "org/base", factors)


def test_logits_are_pefts_alone_and_among_others(base, folder):
    expected, alone = run(load_with_peft(base, folder)), run(base)
    plain = draw_plain(base)
    expected_plain = run(fold(base, plain))
    stack = attach_experts(base, {"poetry": read_peft(folder), "plain": plain})
    torch.testing.assert_close(run(base), alone, rtol=0, atol=0)
    with stack.assign(["poetry"] * 4):
        torch.testing.assert_close(run(base), expected, rtol=1e-4, atol=1e-4)
    with stack.assign(["plain", "poetry", None, "poetry"]):
        found = run(base)
    torch.testing.assert_close(found[[1, 3]], expected[[1, 3]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[0], expected_plain[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], alone[2], rtol=1e-4, atol=1e-4)


def test_a_folded_expert_has_pefts_logits(base, folder):
    folded = fold(base, read_peft(folder))
    torch.testing.assert_close(run(folded), run(load_with_peft(base, folder)), rtol=1e-4, atol=1e-4)
    assert type(folded) is type(base)


def test_it_is_written_as_it_was_and_peft_loads_it(base, folder, tmp_path):
    expert = read_peft(folder)
    write_peft(expert, tmp_path / "again")
    expected = run(load_with_peft(base, folder))
    torch.testing.assert_close(run(load_with_peft(base, tmp_path / "again")), expected, rtol=1e-5, atol=1e-5)
    again = read_peft(tmp_path / "again")
    assert list(again.factors) == list(expert.factors)
    assert all(torch.equal(pair.a, expert.factors[path].a) for path, pair in again.factors.items())


def test_ranks_of_earlier_adapters_are_made_even_for_peft(mixtral, two, tmp_path):
    factors = dict(two["sql"].factors)
    for path, (a, b) in list(factors.items()):
        if path.endswith("q_proj"):
            factors[path] = Factors(torch.cat([a, a]), torch.cat([b, b], dim=1) / 2)
    write_peft(Expert("sql", "mixtral", factors), tmp_path / "uneven")
    expected = run(load_with_peft(mixtral, tmp_path / "sql"))
    found = run(load_with_peft(mixtral, tmp_path / "uneven"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_one_on_a_model_is_written_for_todays_modules(mixtral, two, tmp_path):
    stack = attach_experts(mixtral, two)
    from_model = load_model(wrap_base(stack.detach()), two, router=None).facts.expert("sql")
    write_peft(from_model, tmp_path / "today")
    expected = run(load_with_peft(build_mixture("mixtral"), tmp_path / "sql"))
    found = run(load_with_peft(build_mixture("mixtral"), tmp_path / "today"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_uniform_routing_of_each_token_is_the_exact_mean_of_the_weights(mixtral, two):
    model = load_model(wrap_base(copy.deepcopy(mixtral)), two, router="uniform")
    folded = [fold(mixtral, expert) for expert in two.values()]
    mean = copy.deepcopy(mixtral)
    with torch.no_grad():
        for own, *others in zip(*(each.parameters() for each in (mean, *folded)), strict=True):
            own.copy_(sum(others) / 2)
    torch.testing.assert_close(model(IDS, use_cache=False).logits, run(mean), rtol=1e-4, atol=1e-4)


def test_arrow_routes_a_request_among_others_as_alone(mixtral, two):
    model = load_model(wrap_base(mixtral, make_tokenizer()), two, router="arrow", top_k=1)
    together = run(model)
    for row, alone in zip(IDS, together, strict=True):
        torch.testing.assert_close(run(model, row[None])[0], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together, model(IDS, experts="poetry", use_cache=False).logits)
    assert model.explain([5, 6, 7]).weights.shape[1:] == (3, 2)


def test_merged_experts_fold_to_the_sum_of_both(mixtral, tmp_path):
    pair = {
        name: read_peft(write_adapter(mixtral, KINDS["mixtral"], tmp_path / name, seed), base_model="mixtral")
        for seed, name in enumerate(["poetry", "sql"])
    }
    merged = fold(mixtral, merge(pair, method="cat", weights={"poetry": 1.0, "sql": 1.0}))
    together = fold(fold(mixtral, pair["poetry"]), pair["sql"])
    torch.testing.assert_close(run(merged), run(together), rtol=1e-4, atol=1e-4)


def test_a_mixture_of_experts_by_name_is_a_weighted_change(mixtral, two):
    model = load_model(wrap_base(mixtral), two, router=None)
    both = run_named(model, {"poetry": 1.0, "sql": 0.0})
    torch.testing.assert_close(both, run_named(model, "poetry"))


def run_named(model, experts):
    return model(IDS, experts=experts, use_cache=False).logits


def test_experts_come_and_go_as_if_attached_at_once(mixtral, two):
    expected = {name: run(fold(mixtral, expert)) for name, expert in two.items()}
    stack = attach_experts(mixtral, {"plain": draw_plain(mixtral)})
    for place, expert in enumerate(two.values()):
        stack = insert_expert(stack, expert, place)
    stack = drop_expert(stack, "plain")
    for name in two:
        with stack.assign([name] * 4):
            torch.testing.assert_close(run(mixtral), expected[name], rtol=1e-4, atol=1e-4)


def test_the_base_model_comes_back_whole(mixtral, two):
    before, alone = dict(mixtral.named_parameters()), run(mixtral)
    stack = attach_experts(mixtral, two)
    with stack.assign(["poetry"] * 4), pytest.raises(ValueError, match="leave the contexts"):
        stack.detach()
    with stack.set_aside() as bare:
        assert dict(bare.named_parameters()).keys() == before.keys()
    with stack.assign(["poetry"] * 4):
        assert not torch.allclose(run(mixtral), alone)
    stack.detach()
    after = dict(mixtral.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is parameter for name, parameter in before.items())


def test_packed_rows_have_the_losses_of_each_sequence_alone(mixtral, two):
    sequences = [TokenizedExample((5, 6, 7), (9, 10)), TokenizedExample((5, 6), (11, 12, 13))]
    folded = [fold(mixtral, expert) for expert in two.values()]
    stack = attach_experts(mixtral, two)
    plan = stack.plan(torch.tensor([[0], [1]]), torch.ones(2, 1))
    found = [[], []]
    for part in split_passes(sequences, [0, 1], find_layout(stack, 5, 12), tokens_per_pass=12, row_length=12):
        for index, loss in zip(part.sequence.tolist(), score_pass(stack, part, plan), strict=True):
            found[index].append(loss)
    for losses, model, sequence in zip(found, folded, sequences, strict=True):
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
        scores = run(model, ids)[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
        expected = -scores[len(sequence.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.stack(losses), expected, rtol=1e-4, atol=1e-4)


def test_answers_with_a_cache_are_those_of_the_folded_model(mixtral, two):
    folded = fold(mixtral, two["poetry"])
    model = load_model(wrap_base(mixtral), two, router=None)
    prompts = [[5, 6, 7], [8, 9]]
    answers = model.generate(prompts, experts=["poetry", None], max_new_tokens=4)
    expected = folded.generate(torch.tensor(prompts[:1]), max_new_tokens=4, do_sample=False)
    assert answers[0] == expected[0, 3:].tolist()


def test_a_copy_in_bfloat16_agrees_roughly(mixtral, two):
    expected = run(fold(mixtral, two["poetry"]))
    low = mixtral.bfloat16()
    stack = attach_experts(low, two)
    with stack.assign(["poetry"] * 4):
        assert (run(low).float() - expected).norm() < 0.1 * expected.norm()


def test_the_default_router_leaves_the_mixtures_out(mixtral, two, tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    base = wrap_base(mixtral, make_tokenizer())
    texts = ["w5 w6 w7 w8", "w9 w10 w11", "w12 w13 w14 w15 w16"]
    model = load_model(base, two, router="calibrated", generic=texts)
    assert model.decider.decide(IDS)[0].shape[0] == len(IDS)
    model.detach()
    only = {path: pair for path, pair in two["poetry"].factors.items() if ".experts." in path}
    with pytest.raises(ValueError, match="changes only sub-layers of mixtures"):
        load_model(base, {"poetry": Expert("poetry", "", only)}, router="calibrated", generic=texts)


def test_inputs_of_sub_layers_are_not_read(mixtral, two):
    stack = attach_experts(mixtral, two)
    everything = torch.ones_like(IDS, dtype=torch.bool)
    with (
        stack.assign(["poetry"] * 4),
        capture_inputs(stack, everything, lambda path, x: None),
        pytest.raises(ValueError, match="gives it only some tokens: use what needs the experts alone"),
    ):
        run(mixtral)


def test_an_expert_of_another_mixture_is_refused(mixtral):
    pair = Factors(torch.ones(1, 32), torch.ones(96, 1))
    path = "model.layers.0.mlp.experts.gate_up_proj"
    for index, message in ((99, "is not one of its linear layers"), (0, "maps")):
        expert = Expert("poetry", "", {f"{path}[{index}]": Factors(pair.a[:, :-1], pair.b)})
        with pytest.raises(IncompatibleExpert, match=message):
            attach_experts(mixtral, {"poetry": expert})


def test_a_mixture_of_another_kind_can_only_be_folded(tmp_path):
    base = build_mixture("llama4_text")
    folder = write_adapter(base, KINDS["mixtral"], tmp_path / "poetry")
    expert = read_peft(folder)
    expected = run(load_with_peft(base, folder))
    torch.testing.assert_close(run(fold(base, expert)), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(IncompatibleExpert, match=r"mixture of experts that computes more .* fold it into"):
        attach_experts(base, {"poetry": expert})
