"""Several processes at one library at once.

    python races.py scenario library

makes a library with experts 'a' and 'b' and prints one line of JSON: what each process found. They start
together.
"""

import json
import multiprocessing
import sys
from contextlib import suppress

import torch

from lorary.errors import LibraryError, UnknownExpert
from lorary.experts import Expert, ExpertCard, Factors
from lorary.library import Library

NUM_PROCESSES = 4
NUM_TURNS = 12


def build_expert(name, number):
    factors = {f"layer{n}": Factors(torch.full((2, 8), number), torch.full((6, 2), number)) for n in range(3)}
    return Expert(name, "tiny", factors, ExpertCard(description=str(number)))


def read_number(expert):
    """The number that an expert was filled with, if it is one and the same everywhere."""
    numbers = {
        value.item() for pair in expert.factors.values() for tensor in pair for value in tensor.unique()
    }
    numbers.add(float(expert.card.description))
    assert len(numbers) == 1, f"half of one, half of another: {sorted(numbers)}"
    return numbers.pop()


def add_different(library, own):
    for turn in range(3):
        library.add(build_expert(f"expert-{own}-{turn}", float(own)))
    return "added"


def add_same(library, own):
    try:
        library.add(build_expert("prize", float(own)))
    except LibraryError as error:
        return str(error)
    return f"won {own}"


def replace_same(library, own):
    for turn in range(NUM_TURNS):
        library["a"] = build_expert("a", float(own * 1000 + turn))
    return "replaced"


def change_same(library, own):
    """All do everything to the same few names; each error must be a clear one."""
    kinds = set()
    for _ in range(6):
        changes = {
            "replace": lambda: library.update(a=build_expert("a", float(own))),
            "copy": lambda: library.copy("a", "c"),
            "rename": lambda: library.rename("c", "d"),
            "delete": lambda: library.pop("d"),
            "delete a": lambda: library.pop("a"),
        }
        for change in changes.values():
            try:
                change()
            except LibraryError as error:
                kinds.add(type(error).__name__)
    return sorted(kinds)


def read_while_writing(library, own):
    """One process replaces and renames, the others must always see one whole version of everything."""
    if own == 0:
        for turn in range(NUM_TURNS):
            library["a"] = build_expert("a", float(turn))
            library.rename(*(("b", "c") if turn % 2 == 0 else ("c", "b")))
        library["end"] = build_expert("end", 0.0)
        return "wrote"
    numbers = []
    while "end" not in library:
        numbers.append(read_number(library["a"]))
        assert list(library) in (["a", "b"], ["a", "c"], ["a", "b", "end"]), list(library)
        assert next(entry.name for entry in library.entries()) == "a"
        assert library.verify(["a"]) == []
        with suppress(UnknownExpert):
            read_number(library["b"])
    assert numbers == sorted(numbers), "an older version came after a newer one"
    return len(set(numbers))


def run(scenario, url, own, barrier, results):
    library = Library.open(url)
    barrier.wait()
    try:
        results.put(scenario(library, own))
    except BaseException as error:
        results.put(f"{type(error).__name__}: {error}")
        raise


def main(scenario, url):
    torch.set_num_threads(1)
    Library.open(url, create=True).update(a=build_expert("a", 0.0), b=build_expert("b", 0.0))
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(NUM_PROCESSES), context.Queue()
    arguments = [(globals()[scenario], url, own, barrier, results) for own in range(NUM_PROCESSES)]
    processes = [context.Process(target=run, args=each) for each in arguments]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
