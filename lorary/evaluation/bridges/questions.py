"""The question of a document: the tokens from which a request router chooses."""

from collections.abc import Hashable, Sequence
from itertools import takewhile

from lm_eval.api.instance import Instance

from lorary.evaluation.items import Prompt


def find_questions(
    requests: Sequence[Instance], contexts: Sequence[Prompt], empty: Prompt, max_length: int
) -> list[Prompt]:
    """Find the question of each request's document: the common prefix of its contexts.

    Thus all answers of a document have the same experts, and no answer influences their choice. Where the
    answers are inserted into the context, as in WinoGrande, the question ends before them.

    Args:
        requests: the requests; those of a document have the same task and number.
        contexts: the tokens of each request's context; ``()`` for none.
        empty: the question of a document whose contexts have no common prefix.
        max_length: maximum number of tokens of a question; longer ones lose their beginnings.
    """
    keys: list[Hashable] = [
        index if request.doc_id is None else (request.task_name, request.doc_id)
        for index, request in enumerate(requests)
    ]
    members: dict[Hashable, list[Prompt]] = {}
    for key, context in zip(keys, contexts, strict=True):
        if context:
            members.setdefault(key, []).append(context)
    questions = {key: _find_beginning(each)[-max_length:] for key, each in members.items()}
    return [questions.get(key) or empty for key in keys]


def _find_beginning(contexts: Sequence[Prompt]) -> Prompt:
    """Return the common prefix of all contexts."""
    columns = zip(*contexts, strict=False)
    return tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))
