"""The answers that a folder of ``--out`` keeps, from which a killed run continues."""

from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import Namespace

from lorary.cli.printing import print_line
from lorary.evaluation.response_store import ResponseStore
from lorary.files import quote, say_count

RESPONSES = "responses.jsonl"


@contextmanager
def keep_answers(options: Namespace) -> Iterator[ResponseStore | None]:
    """Open the store of ``--out``; None without it. At the end, say on stderr how many answers it had."""
    if options.out is None:
        yield None
        return
    with ResponseStore(options.out / RESPONSES, reuse=options.resume is not False) as store:
        yield store
        if store.num_found:
            place = quote(str(store.path))
            print_line(f"{say_count(store.num_found, 'answer')} taken from {place}", stderr=True)
