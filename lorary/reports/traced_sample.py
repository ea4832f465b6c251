"""Tracing the experts that each token of a prompt and its generated answer uses."""

from collections.abc import Sequence

from lorary.assembly import Explanation, RoutedModel
from lorary.data import Task, Template
from lorary.data.encoding import encode_answers
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.measures.exact_match import exact_match
from lorary.reports.routed_sample import RoutedSample, RoutedToken

# In characters; long answers have many right forms, so equality says little.
LONGEST_COMPARED = 80


def trace_sample(
    model: RoutedModel, name: str, task: Task, template: Template, config: EvalConfig
) -> RoutedSample:
    """Generate an answer to one example of a task, and find the experts of each token of prompt and answer.

    If the example's target has one line, only the answer's first line is used. If the base model has an
    encoder, the experts of the prompt's tokens are found, and none of the answer's.

    Args:
        model: the model, with a router.
        name: the task's name.
        task: the task; its first example that ``config`` chooses is used.
        template: turns examples into prompts.
        config: has the choice of examples and the maximum length of an answer.

    Raises:
        DataError: if no example fits.
        ValueError: if there is no router.
    """
    is_pair = model.base.is_encoder_decoder
    examples, tokens = choose_examples(
        model.tokenizer, name, task, template, config, is_encoder_decoder=is_pair
    )
    prompt = list(tokens.examples[0].prompt_ids)
    is_line = "\n" not in examples[0].targets[0].strip()
    answer = model.generate([prompt], max_new_tokens=config.max_new_tokens, first_line=is_line)[0]
    if is_line:
        answer = answer.strip("\n").partition("\n")[0]
    right, is_right = examples[0].targets[0].strip(), judge_answer(answer, examples[0].targets)
    if is_pair:
        tokenized = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
        unknown = tuple(RoutedToken(model.tokenizer.decode([token]), ()) for token in tokenized)
        return RoutedSample(
            name, trace_tokens(model.explain(prompt).only(model.names)), unknown, right, is_right
        )
    (answer_ids,) = encode_answers(model.tokenizer, [answer])
    explanation = model.explain([*prompt, *answer_ids], num_prompt_tokens=len(prompt))
    traced = trace_tokens(explanation.only(model.names))
    return RoutedSample(name, traced[: len(prompt)], traced[len(prompt) :], right, is_right)


def judge_answer(answer: str, targets: Sequence[str]) -> bool | None:
    """Return whether an answer equals a target, apart from case and spacing; None for long targets."""
    if any("\n" in target.strip() or len(target) > LONGEST_COMPARED for target in targets):
        return None
    return bool(exact_match(answer, targets))


def trace_tokens(explanation: Explanation) -> tuple[RoutedToken, ...]:
    """Return the tokens of an explanation, with their experts' shares averaged over layers."""
    return tuple(
        RoutedToken(token, tuple(zip(explanation.experts, shares, strict=True)))
        for token, shares in zip(explanation.tokens, explanation.shares_per_token().tolist(), strict=True)
    )
