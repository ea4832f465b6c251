"""The documents of benchmarks in an evaluation, with their requests to a model."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from lorary.errors import DataError
from lorary.evaluation.bridges.code_functions import PROGRAMS
from lorary.evaluation.bridges.load_tasks import Benchmark
from lorary.evaluation.bridges.local_task import ROW_FAULTS, LocalTask, describe_fault
from lorary.evaluation.bridges.routed_lm import RoutedLM
from lorary.files import quote

ID_DIGITS = 16
# The harness's own seed of the examples before a question.
FEWSHOT_SEED = 1234


@dataclass(frozen=True, eq=False)
class Document:
    """One document of a benchmark."""

    benchmark: str
    """The requested name of the benchmark."""
    task: LocalTask
    """Its task."""
    doc: dict[str, Any]
    """The row."""
    example_id: str
    """A hash of the task's name and the row."""
    requests: tuple[Instance, ...]
    """Its requests to the model."""


def choose_documents(
    benchmarks: Sequence[Benchmark],
    lm: RoutedLM,
    *,
    num_examples: int | None,
    seed: int,
    has_chat_template: bool,
) -> list[Document]:
    """Choose documents by content hash, and build their requests as the harness does.

    Args:
        benchmarks: tasks and groups.
        lm: writes chat templates.
        num_examples: maximum number of documents of each benchmark; None for all.
        seed: of the choice.
        has_chat_template: whether prompts are conversations in the tokenizer's chat template. Examples before
            the question are then turns of the conversation.

    Raises:
        DataError: with the rows from which no prompt can be made, or whose answers cannot be graded.
    """
    found: list[Document] = []
    faults: list[str] = []
    for benchmark in benchmarks:
        for task, numbers in _choose(benchmark, num_examples, seed).items():
            task.set_fewshot_seed(FEWSHOT_SEED)
            for number in numbers:
                try:
                    found.append(_build(benchmark, task, number, lm, has_chat_template))
                except DataError as error:
                    faults.append(f"{task.find_place(number)}: {error}")
                except ROW_FAULTS as error:
                    faults.append(f"{task.find_place(number)}: {describe_fault(error)}")
    if faults:
        raise DataError("\n".join(dict.fromkeys(faults)))
    return found


def identify_document(task: str, doc: dict[str, Any]) -> str:
    """Return the id of a document: a hash of its task's name and its row."""
    content = json.dumps([task, doc], sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _choose(benchmark: Benchmark, num_examples: int | None, seed: int) -> dict[LocalTask, list[int]]:
    """Choose documents of all tasks of a benchmark together, in the order of their files."""
    ranks = [
        (hashlib.sha256(f"{seed} {identify_document(task.task_name, doc)}".encode()).digest(), place, number)
        for place, task in enumerate(benchmark.tasks)
        for number, doc in enumerate(task.task_docs)
    ]
    chosen = sorted(ranks)[:num_examples]
    found: dict[LocalTask, list[int]] = {}
    for _, place, number in sorted(chosen, key=lambda rank: rank[1:]):
        found.setdefault(benchmark.tasks[place], []).append(number)
    return found


def _build(
    benchmark: Benchmark, task: LocalTask, number: int, lm: RoutedLM, has_chat_template: bool
) -> Document:
    doc = task.task_docs[number]
    _check_row(task, doc)
    template = lm.apply_chat_template if has_chat_template else None
    told = {"apply_chat_template": has_chat_template, "chat_template": template}
    context = task.fewshot_context(
        doc,
        num_fewshot=task.config.num_fewshot or 0,
        fewshot_as_multiturn=has_chat_template,
        gen_prefix=task.doc_to_prefix(doc),
        **told,
    )
    made = task.construct_requests(
        doc=doc, ctx=context, metadata=(task.task_name, number, task.config.repeats), **told
    )
    requests = tuple(made) if isinstance(made, list) else (made,)
    digest = identify_document(task.task_name, doc)[:ID_DIGITS]
    return Document(benchmark.name, task, doc, digest, requests)


def _check_row(task: LocalTask, doc: dict[str, Any]) -> None:
    """Refuse a row whose answers could only be graded as wrong, or not at all."""
    if write := PROGRAMS.get(task.task_name):
        write(doc, "")
    if task.OUTPUT_TYPE != "multiple_choice":
        return
    choices = task.doc_to_choice(doc)
    answer = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    for right in answer if isinstance(answer, list) else [answer]:
        if not (right in choices if isinstance(right, str) else 0 <= right < len(choices)):
            raise DataError(
                f"the right answer must be one of the {len(choices)} choices, by its text or counted from 0, "
                f"found {quote(right, 60)}"
            )


def count_shared(documents: Sequence[Document]) -> int:
    """Count the documents that belong to more than one of the benchmarks, such as a group and its member."""
    owners: dict[tuple[str, str], set[str]] = {}
    for document in documents:
        owners.setdefault((document.task.task_name, document.example_id), set()).add(document.benchmark)
    return sum(len(each) > 1 for each in owners.values())


def list_requests(documents: Sequence[Document]) -> Iterator[Instance]:
    """List the requests of documents, each repeated for the number of answers that its task needs."""
    for document in documents:
        for request in document.requests:
            yield from [request] * (request.repeats or 1)
