from dataclasses import replace

import torch
from lm_eval.api.instance import Instance

from lorary.evaluation import EvalConfig, Route, responding
from lorary.evaluation.bridges import load_benchmarks, measure_harness
from lorary.evaluation.bridges.questions import find_questions
from lorary.evaluation.route_experts import RouteExperts
from lorary.routing import CalibratedConfig

EMPTY = (0,)
CALIBRATED = CalibratedConfig(top_k=1, generic=("Some text.", "Another one, 1 2 3."))


def ask(task, number, *contexts):
    return [Instance("loglikelihood", {}, ("", ""), 0, (task, number, 1)) for _ in contexts], list(contexts)


def test_the_question_of_a_document_is_what_its_contexts_begin_with():
    groups = [
        ask("a", 0, (1, 2, 3), (1, 2, 4), ()),
        ask("a", 1, (5, 6)),
        ask("b", 0, (7,), (8,)),
        ask(None, None, (1, 2, 3), (1, 9)),
    ]
    requests = [each for group in groups for each in group[0]]
    contexts = [each for group in groups for each in group[1]]
    found = find_questions(requests, contexts, EMPTY, 9)
    assert found == [*[(1, 2)] * 3, (5, 6), EMPTY, EMPTY, (1, 2, 3), (1, 9)]
    assert find_questions(requests[3:4], contexts[3:4], EMPTY, 1) == [(6,)]


def test_a_route_decides_once_for_each_document_from_its_prompt(model, data, monkeypatch):
    asked = []
    decide = responding.decide_prompts

    def spy(model, router, prompts, layout, **sizes):
        found = decide(model, router, prompts, layout, **sizes)
        asked.append((prompts, found))
        return found

    monkeypatch.setattr(responding, "decide_prompts", spy)
    names = ("winogrande", "arc_easy")
    benchmarks, _ = load_benchmarks(names, data)
    route = Route(name="calibrated", router="calibrated", options=CALIBRATED)
    outcome = measure_harness(model, benchmarks, [route], EvalConfig(num_examples=None))
    ((prompts, found),) = asked
    texts = {model.tokenizer.decode(prompt) for prompt in prompts}
    rows = benchmarks[0].tasks[0].task_docs
    expected = {row["sentence"][: row["sentence"].index("_")] for row in rows}
    easy = benchmarks[1].tasks[0]
    expected |= {easy.doc_to_text(row) for row in easy.task_docs}
    assert len(texts) == len(expected) == 8
    for text in texts:
        assert any(text.startswith(each) and len(text) <= len(each) + 2 for each in expected)
    assert isinstance(found, RouteExperts) and found.by_prompt is not None and len(found.by_prompt) == 8
    # Each document's likelihoods are those of the expert that was chosen from its prompt.
    for grade in outcome.grades["calibrated"][4:]:
        prompt = tuple(model.tokenizer.encode(easy.doc_to_text(grade.document.doc)))
        places, weights = found.by_prompt[prompt]
        experts = {model.stack.names[place]: weight for place, weight in zip(places, weights, strict=True)}
        target = model.tokenizer.encode(" " + grade.document.doc["choices"]["text"][0])
        ids = torch.tensor([[*prompt, *target]])
        with torch.no_grad():
            logits = model(ids, experts=experts).logits[0].log_softmax(-1)
        total = sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(target))
        torch.testing.assert_close(grade.answers["none"][0][0], total, atol=2e-3, rtol=1e-3)


def test_fewer_documents_are_a_subset_of_more(model, data):
    benchmarks, _ = load_benchmarks(["mmlu_anatomy", "arc_easy"], data)
    config = EvalConfig(num_examples=4)
    more, fewer = (
        measure_harness(model, benchmarks, [Route(name="base")], each).result.example_ids
        for each in (config, replace(config, num_examples=2))
    )
    assert all(set(fewer[key]) < set(more[key]) for key in fewer)
