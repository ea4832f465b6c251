"""A router that needs new knowledge is a file and a table line, and so is what it needs to know."""

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.data import TokenizedExample
from lorary.errors import FormatError
from lorary.facts import find_task_facts, list_task_facts
from lorary.library import Library
from lorary.training import TrainingExamples
from tests.facts import toy


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    toy.register(monkeypatch)


@pytest.fixture
def library(tmp_path, experts):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    return library


def draw_examples(names):
    return {
        name: TrainingExamples(train=(TokenizedExample((5, 6), tuple(range(7, 8 + number))),))
        for number, name in enumerate(names)
    }


def find_counts(model, library, names=None):
    return find_task_facts(model, library, draw_examples(names or model.names), ["counts"])


def answer(model, **inputs):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 30, 7]]), **inputs).logits


@pytest.fixture
def model(library, build_tiny_base):
    """A model that the toy routes."""
    facts = find_counts(load_model(build_tiny_base(), library, router=None), library)
    return load_model(build_tiny_base(), library, router="toy", facts=facts, top_k=3, power=2.0)


def test_it_routes_by_what_is_known_of_its_own_layer(model):
    chosen = torch.tensor([model.stack.index(name) for name in model.names])
    for layer in model.stack.layers.values():
        numbers = torch.arange(len(model.names)) + 3.0
        counts = numbers[:, None] + torch.arange(layer.a.shape[2])
        expected = counts * layer.a[chosen].norm(dim=1) ** 2
        expected = torch.nn.functional.normalize(expected, dim=-1)
        torch.testing.assert_close(layer.router.means, expected)
    assert model.explain("some text").weights.shape[-1] == 5


def test_what_it_needs_is_stored_with_the_experts_and_computed_once(library, build_tiny_base, model):
    again = load_model(build_tiny_base(), library, router=None)
    again.provide(counts=find_counts(again, library)["counts"])
    again.set_router("toy", toy.ToyConfig(top_k=3, power=2.0))
    assert torch.equal(answer(again), answer(model))
    assert toy.lengths.calls == [sorted(library)] and toy.counts.calls == [sorted(library)]
    again.set_router("toy", toy.ToyConfig(top_k=3, power=3.0))
    assert len(toy.lengths.calls) == 2


def test_it_is_passed_to_calls_and_named_as_a_keyword(library, build_tiny_base, model):
    counts = find_counts(model, library)["counts"]
    named = load_model(build_tiny_base(), library, router="toy", counts=counts, top_k=3, power=2.0)
    assert torch.equal(answer(named), answer(model))
    model.set_router(None)
    passed = answer(model, experts=model.router("toy", top_k=3, power=2.0))
    torch.testing.assert_close(passed, answer(named))


def test_a_saved_model_has_all_of_it(model, tmp_path, build_tiny_base):
    expected = answer(model)
    save_model(model, tmp_path / "saved", with_base=True)
    toy.lengths.calls.clear(), toy.counts.calls.clear()
    opened = load_model(tmp_path / "saved")
    assert opened.routing == ("toy", toy.ToyConfig(top_k=3, power=2.0), "outputs")
    torch.testing.assert_close(answer(opened), expected)
    assert toy.lengths.calls == toy.counts.calls == []


def test_a_saved_fact_that_no_table_knows_is_refused(model, tmp_path, monkeypatch):
    save_model(model, tmp_path / "saved", with_base=True)
    monkeypatch.delitem(toy.FACTS, "counts")
    with pytest.raises(
        FormatError, match="must have means, components, gates, moe, embeddings, lengths as floating"
    ):
        load_model(tmp_path / "saved", router="arrow", top_k=1)


def test_experts_come_and_go(model, library, draw_expert, build_tiny_base):
    late = draw_expert(build_tiny_base(), "late", rank=3)
    with pytest.raises(
        ValueError, match="needs the counts of every expert, found none for 'late': compute them "
    ):
        model.add_expert(late)
    model.set_router(None)
    model.add_expert(late)
    row = {path: rows[-1:] for path, rows in find_counts(model, {})["counts"].items()}
    model.provide({"counts": row}, names=["late"])
    model.set_router("toy", toy.ToyConfig(top_k=3, power=2.0))
    assert toy.lengths.calls[1:] == [["late"]]
    model.remove_expert("dates")
    assert next(iter(model.stack.layers.values())).router.means.shape[0] == 5
    model.remove_expert("late")
    rest = {name: library[name] for name in model.names}
    names = ["dates", *model.names]
    whole = load_model(build_tiny_base(), library, router=None)
    counts = find_counts(whole, library)["counts"]
    kept = [sorted(names).index(name) for name in model.names]
    expected = load_model(
        build_tiny_base(),
        rest,
        router="toy",
        counts={path: rows[kept] for path, rows in counts.items()},
        top_k=3,
        power=2.0,
    )
    torch.testing.assert_close(answer(model), answer(expected))


def test_without_its_knowledge_it_is_refused(library, build_tiny_base):
    assert list_task_facts(["toy", "arrow"]) == ["counts"]
    message = r"needs the counts of every expert, .*find_task_facts\(model, experts, examples, \['counts'\]\)"
    with pytest.raises(ValueError, match=message):
        load_model(build_tiny_base(), library, router="toy")


def test_what_is_no_fact_cannot_be_handed_over(model):
    with pytest.raises(
        ValueError, match=r"'count' is not a fact that provide\(\) takes: did you mean 'counts'"
    ):
        model.provide(count={})
    with pytest.raises(ValueError, match=r"'calibrations' is not a fact that provide\(\) takes"):
        model.provide({"calibrations": {}})
