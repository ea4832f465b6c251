"""Retrieval by embeddings of prompts: mean last hidden states of the base model.

P prompts, E experts, N examples of an expert, D width of an embedding.
"""

from collections.abc import Sequence

from torch import Tensor

from lorary.adaptation.retrieval.contract import RetrievalContext, Scores
from lorary.adaptation.retrieval.reading import attached
from lorary.assembly import RoutedModel
from lorary.experts import Expert
from lorary.facts.embeddings import embed_prompts
from lorary.facts.task_facts import find_task_facts
from lorary.files import escape, say_count
from lorary.routing.retrieval import retrieval_scores

LONGEST_CARD = 2000
"""Characters of a card's text that are read."""


def score(context: RetrievalContext, names: Sequence[str], seed: int) -> Scores:
    """Average, over the new task's prompts, the cosine with the nearest example of each expert's task.

    If there are no examples of the experts' tasks, an expert's only example is the text of its card: the
    names of its tasks and its description.

    Raises:
        ValueError: if an expert has neither examples of its task, nor tasks or a description in its card.
    """
    prompts = context.prompts
    with attached(context, names) as model:
        num_tokens = sum(map(len, prompts))
        if context.own_examples:
            known = _embed_own_examples(context, model, names)
        else:
            texts = _list_card_tokens(context, names)
            known = embed_prompts(model.stack, texts)
            num_tokens += sum(len(ids) for own in texts.values() for ids in own)
        task = embed_prompts(model.stack, {context.task: prompts})[context.task]  # [P, D]
    scores = retrieval_scores(task, [known[name] for name in names])  # [P, E]
    return Scores(scores.mean(0).tolist(), num_tokens)


def _embed_own_examples(
    context: RetrievalContext, model: RoutedModel, names: Sequence[str]
) -> dict[str, Tensor]:
    """Return embeddings ``[N, D]`` of examples of each expert's task; a library stores them."""
    missing = [name for name in names if name not in context.own_examples]
    if missing:
        raise ValueError(
            "retrieval by embedding needs examples of every expert's task, or of none, found none for "
            f"{_list_some(missing)}: give their tasks too, or no tasks of experts to compare their cards"
        )
    own = {name: context.own_examples[name] for name in names}
    found = find_task_facts(model, context.experts, own, ["embeddings"])["embeddings"]
    return dict(found)


def _list_card_tokens(context: RetrievalContext, names: Sequence[str]) -> dict[str, list[list[int]]]:
    """Return the tokens of each card's text, one text per expert."""
    texts = {name: describe_card(context.experts[name]) for name in names}
    silent = [name for name, text in texts.items() if not text]
    if silent:
        raise ValueError(
            "retrieval by embedding needs examples of the experts' tasks, or cards with tasks or a "
            f"description, found neither for {_list_some(silent)}: give examples of the experts' tasks, "
            "write a description into the cards, or choose by 'cosine', which needs neither"
        )
    tokenizer = context.base.tokenizer
    return {name: [list(tokenizer(text)["input_ids"])] for name, text in texts.items()}


def describe_card(expert: Expert) -> str:
    """Return the text of an expert's card: tasks and description; empty if it has neither."""
    parts = [", ".join(expert.card.tasks), expert.card.description]
    return "\n".join(part for part in parts if part.strip())[:LONGEST_CARD]


def _list_some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(escape(name, longest=60)) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {say_count(len(names) - 3, 'more expert')}"
