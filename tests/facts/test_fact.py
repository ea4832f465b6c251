from dataclasses import replace

import pytest
import torch

from lorary.facts import FACTS, list_task_facts
from lorary.facts.fact import Context, Fact, Source
from lorary.facts.finding import find_artifacts, find_rows
from lorary.facts.rows import pack_rows
from lorary.library import Library
from lorary.routing import ROUTERS, Uses
from lorary.routing.named import list_options


@pytest.fixture
def context(model, experts):
    return Context(base=model.base, stack=model.stack, experts=experts)


def compute_ones(context, names):
    widths = {path: layer.a.shape[2] for path, layer in context.stack.layers.items()}
    return pack_rows({path: torch.ones(len(names), width) for path, width in widths.items()}, names)


ONES = Fact(name="ones", source=Source.EXPERTS, compute=compute_ones)


def test_a_fact_is_a_vector_per_expert_and_layer_unless_it_says_otherwise(context):
    found = find_rows(ONES, context, ["dates", "morse"])
    assert found.keys() == ONES.shapes.keys() == {"ones"}
    for path, layer in context.stack.layers.items():
        assert torch.equal(found["ones"][path], torch.ones(2, layer.a.shape[2]))


def test_a_fact_of_the_output_layer_has_a_tensor_per_expert(context):
    fact = replace(
        ONES,
        place="output",
        shapes={},
        compute=lambda context, names: {name: {"ones": torch.ones(len(name), 3)} for name in names},
    )
    found = find_rows(fact, context, ["dates", "prices"])["ones"]
    assert {name: list(rows.shape) for name, rows in found.items()} == {"dates": [5, 3], "prices": [6, 3]}


def test_what_is_computed_on_a_base_model_is_stored_for_that_one(tmp_path, context, experts, build_tiny_base):
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add(experts["dates"])
    calls = []

    def note(context, names):
        calls.append(context.base.name)
        return compute_ones(context, names)

    fact = replace(ONES, source=Source.GENERIC, algorithm="ones-1", compute=note)
    mine = replace(context, experts=library)
    other = replace(mine, base=build_tiny_base(seed=1))
    for one in (mine, other, mine, other):
        find_artifacts(fact, one, ["dates"])
    assert calls == ["tiny-0", "tiny-1"]


def test_facts_of_tasks_that_are_stored_must_tell_examples_apart():
    with pytest.raises(ValueError, match=r"fact 'ones' is stored and depends on examples .* digest=..."):
        replace(ONES, source=Source.EXAMPLES, algorithm="ones-1")


def test_tensors_are_called_differently_in_all_facts_and_no_fact_as_a_routers_option():
    tensors = [tensor for fact in FACTS.values() for tensor in fact.shapes]
    assert len(set(tensors)) == len(tensors)
    assert not FACTS.keys() & {option for router in ROUTERS for option in list_options(router)}
    assert all(name == fact.name for name, fact in FACTS.items())


@pytest.mark.parametrize("router", ROUTERS)
def test_a_router_says_whether_its_facts_need_examples_of_tasks(router):
    """The command line lists routers by this, without loading the facts."""
    assert ROUTERS[router].needs_tasks == bool(list_task_facts([router]))


SOURCES = {
    Source.EXPERTS: Uses.EXPERTS,
    Source.GENERIC: Uses.GENERIC,
    Source.EXAMPLES: Uses.EXAMPLES,
    Source.TRAINING: Uses.TRAINED,
    Source.TOGETHER: Uses.TRAINED,
}


@pytest.mark.parametrize("router", ROUTERS)
def test_a_router_says_what_it_uses_as_its_facts_do(router):
    """All tables of routers show this, without loading the facts."""
    order = list(Uses)
    used = [SOURCES[FACTS[fact].source] for fact in ROUTERS[router].config().needs]
    assert ROUTERS[router].uses is max([Uses.EXPERTS, *used], key=order.index)
