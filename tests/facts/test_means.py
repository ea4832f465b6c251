import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import LibraryError, UnknownExpert
from lorary.facts import find_task_facts, means
from lorary.facts.means import mean_activations
from tests.facts.texts import take_for_examples

TEXTS = {"dates": [[5, 6, 7], [8, 9, 10, 11, 12], [13]], "morse": [[20, 21], [5, 6, 7]]}


@pytest.fixture
def computed(monkeypatch):
    """Names of the experts whose means were computed, a list per call."""
    calls = []

    def count(stack, sequences, **options):
        calls.append(list(sequences))
        return mean_activations(stack, sequences, **options)

    monkeypatch.setattr(means, "mean_activations", count)
    return calls


def find_means(model, experts, texts):
    return find_task_facts(model, experts, take_for_examples(texts), ["means"])["means"]


@torch.no_grad()
def average_by_hand(model, name, texts):
    """Read one text after the other with the expert, and average what plain hooks see."""
    seen = {path: [] for path in model.stack.layers}
    handles = [
        layer.base.register_forward_pre_hook(lambda _, given, path=path: seen[path].append(given[0][0]))
        for path, layer in model.stack.layers.items()
    ]
    for ids in texts:
        with model.assign([name]):
            model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {path: torch.cat(tokens).double().mean(0).float() for path, tokens in seen.items()}


@pytest.mark.parametrize("tokens_per_pass", [1, 6, 1000])
def test_means_are_those_of_each_text_read_alone_with_its_expert(model, tokens_per_pass):
    found = mean_activations(model.stack, TEXTS, tokens_per_pass=tokens_per_pass)
    assert list(found) == list(model.stack.layers)
    for row, (name, texts) in enumerate(TEXTS.items()):
        expected = average_by_hand(model, name, texts)
        for path, rows in found.items():
            torch.testing.assert_close(rows[row], expected[path], atol=1e-5, rtol=1e-4)


def test_means_route_tokens_to_the_expert_of_their_task(base, experts):
    chosen = {name: experts[name] for name in TEXTS}
    model = load_model(base, chosen, router=None)
    model.provide(means=find_means(model, chosen, TEXTS))
    with model.routed("mean_activation"):
        shares = [model.explain(TEXTS[name][0]).shares_per_layer()[0] for name in TEXTS]
    assert all(share.sum().item() == pytest.approx(1) for share in shares)


def test_a_library_keeps_them(library, computed, build_tiny_base):
    model = load_model(build_tiny_base(), library, router=None)
    first = find_means(model, library, TEXTS)
    again = find_means(load_model(build_tiny_base(), library, router=None), library, TEXTS)
    assert computed == [["dates", "morse"]]
    expected = mean_activations(model.stack, TEXTS)
    for path, rows in expected.items():
        torch.testing.assert_close(first[path], rows)
        torch.testing.assert_close(again[path], rows)


def test_only_what_is_missing_is_computed(library, computed, build_tiny_base, base, draw_expert):
    model = load_model(build_tiny_base(), library, router=None)
    find_means(model, library, {"dates": TEXTS["dates"]})
    # Other data, other weights, and what was never asked for.
    library["morse"] = draw_expert(base, "morse", seed=77)
    model = load_model(build_tiny_base(), library, router=None)
    find_means(model, library, {"morse": TEXTS["morse"], "dates": TEXTS["dates"]})
    find_means(model, library, {"dates": TEXTS["dates"][:2], "morse": TEXTS["morse"]})
    assert computed == [["dates"], ["morse"], ["dates"]]


def test_another_base_model_has_its_own(library, computed, build_tiny_base):
    for expert in library.values():
        card = type(expert.card)()
        library[expert.name] = type(expert)(expert.name, "", expert.factors, card)
    for seed in (0, 1):
        model = load_model(build_tiny_base(seed=seed), library, router=None)
        find_means(model, library, {"dates": TEXTS["dates"]})
    assert computed == [["dates"], ["dates"]]


def test_a_mapping_computes_all_each_time(model, experts, computed):
    for _ in range(2):
        find_means(model, experts, TEXTS)
    assert computed == [["dates", "morse"]] * 2


def test_an_expert_that_was_replaced_since_it_was_loaded_is_refused(
    library, build_tiny_base, base, draw_expert
):
    model = load_model(build_tiny_base(), library, router=None)
    library["morse"] = draw_expert(base, "morse", seed=77)
    with pytest.raises(
        LibraryError, match="expert 'morse' in the library is not the one this model was loaded"
    ):
        find_means(model, library, {"morse": TEXTS["morse"]})


def test_an_expert_without_texts_or_unknown_is_refused(model, experts):
    for texts in ([], [[5], []]):
        with pytest.raises(ValueError, match="expert 'dates' needs at least one text, of at least one token"):
            mean_activations(model.stack, {"dates": texts})
    with pytest.raises(UnknownExpert, match="'date': did you mean 'dates'"):
        find_means(model, experts, {"date": [[5]]})
