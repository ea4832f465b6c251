import pytest
import torch

from lorary.assembly import load_model
from lorary.data import TokenizedExample
from lorary.facts import find_task_facts, list_task_facts
from lorary.facts.embeddings import embed_prompts
from lorary.facts.examples import NUM_TEXTS
from lorary.facts.means import mean_activations
from lorary.library import Library
from lorary.training import TrainingExamples


@pytest.fixture
def library(experts):
    library = Library.open("memory://task-material", create=True)
    for name, expert in experts.items():
        library[name] = expert
    yield library
    for name in list(library):
        del library[name]


def draw_examples(count, seed):
    drawn = torch.Generator().manual_seed(seed)
    numbers = torch.randint(5, 60, (count, 7), generator=drawn).tolist()
    return TrainingExamples(train=tuple(TokenizedExample(tuple(row[:4]), tuple(row[4:])) for row in numbers))


def test_needs_are_those_that_only_data_can_tell():
    assert list_task_facts(["arrow", "calibrated", "base", "expert:dates"]) == []
    assert list_task_facts(["retrieval", "mean_activation"]) == ["means", "embeddings"]
    assert list_task_facts(["phatgoose"]) == ["gates"]


def explain(model):
    """Routing weights of one text, by routers that know tasks; the model gives its base back."""
    found = []
    for router in ("mean_activation", "retrieval"):
        with model.routed(router):
            found.append(model.explain("letter q").weights)
    model.detach()
    return found


def test_means_are_of_examples_and_embeddings_of_prompts_and_of_the_first_few(base, library):
    examples = {name: draw_examples(NUM_TEXTS + 5, seed) for seed, name in enumerate(library)}
    model = load_model(base, library, router=None)
    model.provide(find_task_facts(model, library, examples, ["means", "embeddings"]))
    found = explain(model)
    few = {name: found.train[:NUM_TEXTS] for name, found in examples.items()}
    texts = {name: [(*one.prompt_ids, *one.target_ids) for one in own] for name, own in few.items()}
    prompts = {name: [one.prompt_ids for one in own] for name, own in few.items()}
    model = load_model(base, library, router=None)
    model.provide(means=mean_activations(model.stack, texts), embeddings=embed_prompts(model.stack, prompts))
    for ours, expected in zip(found, explain(model), strict=True):
        torch.testing.assert_close(ours, expected)


def test_nothing_is_read_where_nothing_is_needed(base, library):
    model = load_model(base, library, router=None)
    assert find_task_facts(model, library, {}, []) == {}
