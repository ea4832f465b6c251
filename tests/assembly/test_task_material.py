import pytest
import torch

from lorary.assembly import list_data_needs, load_model, provide_task_material
from lorary.assembly.task_material import NUM_TEXTS
from lorary.facts import find_embeddings, find_means
from lorary.library import Library


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
    return [(tuple(row[:4]), tuple(row[4:])) for row in numbers]


def test_needs_are_those_that_only_data_can_tell():
    assert list_data_needs(["arrow", "calibrated", "base", "expert:dates"]) == set()
    assert list_data_needs(["mean_activation", "retrieval"]) == {"means", "embeddings"}
    assert list_data_needs(["phatgoose"]) == {"gates"}


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
    provide_task_material(model, library, examples, ["mean_activation", "retrieval"])
    found = explain(model)
    few = {name: rows[:NUM_TEXTS] for name, rows in examples.items()}
    texts = {name: [(*prompt, *answer) for prompt, answer in rows] for name, rows in few.items()}
    prompts = {name: [prompt for prompt, _ in rows] for name, rows in few.items()}
    model = load_model(base, library, router=None)
    model.provide(
        means=find_means(model, library, texts), embeddings=find_embeddings(model, library, prompts)
    )
    for ours, expected in zip(found, explain(model), strict=True):
        torch.testing.assert_close(ours, expected)


def test_nothing_is_read_where_nothing_is_needed(base, library):
    model = load_model(base, library, router=None)
    provide_task_material(model, library, {}, ["arrow", "uniform"])
