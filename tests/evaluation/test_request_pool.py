import pytest

from lorary.data import Example, Task, find_template, tokenize_examples
from lorary.data.tokens import tokenize_answers
from lorary.evaluation import EvalConfig
from lorary.evaluation.measures import Generate, Likelihood, Metric, Score
from lorary.evaluation.measures.table import MEASURES
from lorary.evaluation.request_pool import gather_requests
from lorary.evaluation.scoring import Scored

PLAIN = find_template("plain")


class Asks:
    """A measure that asks what it is told to, and keeps what it is given."""

    def __init__(self, *requests):
        self.metrics = (Metric(name="told", title="x", description="y"),)
        self.asked = requests
        self.responses = []

    def requests(self, example):
        return self.asked

    def grade(self, example, responses):
        self.responses.append(responses)
        return {"told": 0.0}


def gather(model, tasks, *metrics, **options):
    return gather_requests(model.tokenizer, tasks, PLAIN, EvalConfig(metrics=metrics, **options))


def test_equal_requests_of_all_measures_are_run_once(model, tasks):
    answered = gather(model, tasks, "exact_match", "rouge_l")
    assert len(answered.questions) == 20
    assert len(answered.answers) == 10
    assert answered.scores == ()
    chosen = gather(model, {"morse": tasks["morse"]}, "accuracy_sum", "accuracy_per_byte", "loss")
    assert len(chosen.questions) == 4 + 5
    # A target to be learnt has its end, a choice has none.
    different = sum(len(set(example.choices or ())) for example in tasks["morse"].split("test"))
    assert len(chosen.scores) == different + 5


def test_equal_texts_of_two_tasks_are_run_for_each(model):
    """A route may answer the two with different experts."""
    examples = {"test": (Example("what", ("x",)),)}
    pool = gather(model, {name: Task(name, examples) for name in ("a", "b")}, "loss", "exact_match")
    assert [item.task for item in pool.scores] == [item.task for item in pool.answers] == ["a", "b"]


def test_each_measure_gets_the_responses_to_its_own_requests(model, monkeypatch):
    measure = Asks(Generate(), Score(("yes", "no")), Generate(7, whole=True), Score(("no",), ends=True))
    monkeypatch.setitem(MEASURES, "told", measure)
    task = Task("t", {"test": (Example("is it", ("yes",)),)})
    pool = gather(model, {"t": task}, "told", "loss")
    assert [item.max_new_tokens for item in pool.answers] == [8, 7]
    scored = [Scored(float(place), True) for place in range(len(pool.scores))]
    records = list(pool.grade("base", scored, [" one\ntwo", " one\ntwo"], ("told", "loss")))
    (responses,) = measure.responses
    assert responses[0] == "one" and responses[2] == " one\ntwo"
    texts = [model.tokenizer.decode(item.tokens.target_ids) for item in pool.scores]
    yes, no = responses[1]
    assert yes == Likelihood(-0.0, len(pool.scores[0].tokens.target_ids))
    assert no.log_likelihood == -1.0
    assert responses[3][0] == Likelihood(-2.0, len(pool.scores[2].tokens.target_ids))
    assert texts[2].startswith(texts[1]) and len(texts[2]) > len(texts[1])
    assert [record.metric for record in records] == ["told", "loss"]


def test_a_thought_before_an_answer_of_one_line_is_not_graded(model, monkeypatch):
    """Guards against '<think>' being the first line of every answer of a thinking model."""
    measure = Asks(Generate(), Generate(7, whole=True))
    monkeypatch.setitem(MEASURES, "told", measure)
    pool = gather(model, {"t": Task("t", {"test": (Example("is it", ("yes",)),)})}, "told")
    answer = "<think>\n\n</think>\n\nyes\nno"
    list(pool.grade("base", [], [answer, answer], ("told",)))
    assert measure.responses == [["yes", answer]]


def test_requests_are_tokenised_as_in_training_and_in_choosing(model, tasks):
    task = tasks["morse"]
    example = task.split("test")[0]
    pool = gather(model, {"morse": task}, "loss", "accuracy_sum")
    tokens = {item.tokens for item in pool.scores}
    assert set(tokenize_examples(model.tokenizer, PLAIN, task, [example], max_length=512).examples) <= tokens
    assert (
        set(tokenize_answers(model.tokenizer, PLAIN, task, example, example.choices, max_length=512))
        <= tokens
    )


@pytest.mark.parametrize("policy", ["skip", "prompt-left"])
def test_a_prompt_makes_room_for_an_answer_that_is_longer_than_the_target(model, monkeypatch, policy):
    request = Score(("a rather long answer",))
    monkeypatch.setitem(MEASURES, "told", Asks(request))
    task = Task("t", {"test": (Example("0123456789" * 3, ("yes",)),)})
    pool = gather(model, {"t": task}, "told", max_length=44, truncation=policy)
    (item,) = pool.scores
    cut = {"skip": "prompt-middle"}.get(policy, policy)
    (expected,) = tokenize_answers(
        model.tokenizer, PLAIN, task, task.split("test")[0], request.answers, max_length=44, truncation=cut
    )
    assert item.tokens == expected
    assert item.tokens.num_cut > 0 and len(item.tokens) == 44
