import pytest

from lorary.data import find_template
from lorary.evaluation import EvalConfig
from lorary.evaluation.chosen_examples import choose_examples
from lorary.reports.traced_sample import trace_sample

PLAIN = find_template("plain")


def test_the_answer_is_what_the_routed_model_generates_and_every_token_has_all_experts(model, tasks):
    config = EvalConfig(num_examples=1, max_new_tokens=5)
    with model.routed("arrow"):
        sample = trace_sample(model, "dates", tasks["dates"], PLAIN, config)
        prompt = choose_examples(model.tokenizer, "dates", tasks["dates"], PLAIN, config).tokens.examples[0]
        answer = model.generate([list(prompt.prompt_ids)], max_new_tokens=5)[0]
    assert sample.task == "dates"
    assert len(sample.prompt) == len(prompt.prompt_ids)
    # Tokens that are half a character have no text to compare.
    line = answer.strip("\n").partition("\n")[0]
    answer_ids = model.tokenizer(line, add_special_tokens=False)["input_ids"]
    assert [token.text for token in sample.answer] == [model.tokenizer.decode([i]) for i in answer_ids]
    for token in (*sample.prompt, *sample.answer):
        assert [name for name, _ in token.experts] == list(model.names)
        assert sum(share for _, share in token.experts) == pytest.approx(1)


def test_without_a_router_there_is_nothing_to_trace(model, tasks):
    with pytest.raises(ValueError, match="there is no routing to explain"):
        trace_sample(model, "dates", tasks["dates"], PLAIN, EvalConfig(max_new_tokens=2))
