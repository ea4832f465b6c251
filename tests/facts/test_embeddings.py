import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import UnknownExpert
from lorary.facts import embeddings, find_task_facts
from lorary.facts.embeddings import embed_prompts
from tests.facts.texts import take_for_examples

PROMPTS = {"dates": [[5, 6, 7], [8, 9, 10, 11, 12], [13]], "morse": [[20, 21], [5, 6, 7]]}


@pytest.fixture
def computed(monkeypatch):
    """Names of the experts whose prompts were embedded, a list per call."""
    calls = []

    def count(stack, sequences, tokens_per_pass):
        calls.append(list(sequences))
        return embed_prompts(stack, sequences, tokens_per_pass)

    monkeypatch.setattr(embeddings, "embed_prompts", count)
    return calls


def find_embeddings(model, experts, prompts):
    return find_task_facts(model, experts, take_for_examples(prompts), ["embeddings"])["embeddings"]


@pytest.mark.parametrize("tokens_per_pass", [1, 6, 1000])
def test_an_embedding_is_the_bases_mean_last_hidden_state(build_tiny_base, model, tokens_per_pass):
    found = embed_prompts(model.stack, PROMPTS, tokens_per_pass)
    bare = build_tiny_base().model
    assert list(found) == list(PROMPTS)
    for name, rows in found.items():
        assert len(rows) == len(PROMPTS[name])
        for row, ids in zip(rows, PROMPTS[name], strict=True):
            with torch.no_grad():
                states = bare.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
            torch.testing.assert_close(row, states.mean(0), atol=1e-5, rtol=1e-4)


def test_a_library_keeps_them_and_computes_only_what_is_missing(library, computed, build_tiny_base):
    model = load_model(build_tiny_base(), library, router=None)
    first = find_embeddings(model, library, PROMPTS)
    again = find_embeddings(load_model(build_tiny_base(), library, router=None), library, PROMPTS)
    other = find_embeddings(model, library, {"dates": PROMPTS["dates"], "morse": [[1, 2]]})
    assert computed == [["dates", "morse"], ["morse"]]
    for name in PROMPTS:
        assert torch.equal(first[name], again[name])
    assert torch.equal(other["dates"], first["dates"]) and len(other["morse"]) == 1


def test_another_base_model_has_its_own(library, computed, build_tiny_base):
    for expert in library.values():
        library[expert.name] = type(expert)(expert.name, "", expert.factors, type(expert.card)())
    for seed in (0, 1):
        model = load_model(build_tiny_base(seed=seed), library, router=None)
        find_embeddings(model, library, {"dates": PROMPTS["dates"]})
    assert computed == [["dates"], ["dates"]]


def test_a_mapping_computes_all_each_time(model, experts, computed):
    for _ in range(2):
        find_embeddings(model, experts, PROMPTS)
    assert computed == [["dates", "morse"]] * 2


def test_an_expert_without_prompts_or_unknown_is_refused(model, experts):
    for prompts in ([], [[5], []]):
        with pytest.raises(
            ValueError, match="expert 'dates' needs at least one example of its own task, with a prompt of"
        ):
            find_embeddings(model, experts, {"dates": prompts})
    with pytest.raises(UnknownExpert, match="'date': did you mean 'dates'"):
        find_embeddings(model, experts, {"date": [[5]]})
