"""Retrieval on a whole model: where its embeddings come from, and what is refused."""

import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import UnknownExpert
from lorary.facts import find_task_facts
from lorary.facts.encoder import embed_with
from lorary.routing import RetrievalConfig
from tests.facts.texts import take_for_examples

PROMPTS = ["a", "plural of mouse", "2024-01-03 in words"]


def test_load_model_takes_a_request_router_with_all_it_needs(build_tiny_base, experts, ready, sequences):
    facts = find_task_facts(ready, experts, take_for_examples(sequences), ["embeddings"])
    model = load_model(build_tiny_base(), experts, router="retrieval", facts=facts, top_k=2, temperature=0.1)
    ready.set_router("retrieval", RetrievalConfig(top_k=2, temperature=0.1))
    assert model.generate(PROMPTS, max_new_tokens=4) == ready.generate(PROMPTS, max_new_tokens=4)


def test_a_callable_may_embed_in_place_of_the_base_model(ready, sequences):
    def encoder(texts):
        return [[text.count("-"), text.count("2"), len(text)] for text in texts]

    embeddings = {name: embed_with(encoder, ready.tokenizer, own) for name, own in sequences.items()}
    assert embeddings["morse"].tolist() == [[3.0, 0.0, 11.0], [2.0, 0.0, 4.0], [0.0, 0.0, 7.0]]
    ready.provide(embeddings=embeddings, encoder=encoder)
    ready.set_router("retrieval")
    indices, _ = ready.decider.decide(torch.tensor(sequences["morse"][:1]))
    assert ready.names[int(indices)] == "morse"
    ready.provide(embeddings=embeddings)
    ready.set_router("retrieval")
    with pytest.raises(ValueError, match=r"embeddings of requests must have 3 numbers, .* found 16"):
        ready.generate("a")


def test_an_encoder_that_gives_no_vector_per_text_is_refused(ready, sequences):
    for answer, shape in (([1.0, 2.0], r"\[2\]"), ([[1.0, 2.0]], r"\[1, 2\]")):
        with pytest.raises(ValueError, match=rf"one vector per text, \[2, D\], found {shape}"):
            embed_with(lambda texts, answer=answer: answer, ready.tokenizer, sequences["dates"])
    with pytest.raises(ValueError, match="an encoder needs the embeddings that it computed"):
        ready.provide(encoder=lambda texts: texts)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ({"dates": torch.ones(3)}, r"embeddings of expert 'dates' must be \[N, D\], .* found \[3\]"),
        ({"dates": torch.ones(0, 16)}, r"at least one, found \[0, 16\]"),
        (
            {"dates": torch.ones(2, 9)},
            "those of 'dates' have 9 numbers and those of 'morse' have 16: compute all",
        ),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(ready, embeddings, message):
    with pytest.raises(ValueError, match=message):
        ready.provide(embeddings=embeddings)
    with pytest.raises(UnknownExpert, match="'date': did you mean 'dates'"):
        ready.provide(embeddings={"date": torch.ones(2, 16)})
    ready.set_router("retrieval")


def test_retrieval_without_embeddings_is_refused(model):
    message = (
        "needs the embeddings of every expert, found none for 'dates' and 4 more: compute them with "
        r"lorary.facts.find_task_facts\(model, experts, examples, \['embeddings'\]\), pass the result to "
    )
    with pytest.raises(ValueError, match=message):
        model.set_router("retrieval")
    assert model.decider is None


def test_embeddings_are_asked_for_before_an_expert_comes(ready, base, draw_expert):
    late = draw_expert(base, "late")
    ready.set_router("retrieval")
    with pytest.raises(ValueError, match="needs the embeddings of every expert, found none for 'late'"):
        ready.add_expert(late)
    ready.set_router(None)
    ready.add_expert(late)
    ready.provide(embeddings={"late": torch.ones(1, 16)})
    ready.set_router("retrieval")
    ready.remove_expert("dates")
    assert len(ready.decider.router.examples) == 5
