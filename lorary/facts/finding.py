"""Finding facts: stored artifacts are used, missing ones are computed and stored."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from lorary.experts import Expert
from lorary.facts.fact import Context, Fact, Laid
from lorary.facts.fitted_library import WithArtifacts
from lorary.facts.keeping import keep_artifacts
from lorary.facts.same_experts import check_loaded
from lorary.facts.soundness import Artifact
from lorary.files import say_count


def find_artifacts(fact: Fact, context: Context, names: Sequence[str]) -> dict[str, Artifact]:
    """Return a fact's artifacts of some experts; missing ones are computed and stored.

    The key of a stored artifact has the hash of the expert's content, the algorithm, the fact's parameters
    and the hash of the expert's examples. So an artifact of other weights or other examples is never used.

    Args:
        fact: the fact.
        context: its inputs.
        names: experts on the model.

    Returns:
        Expert -> artifact.

    Raises:
        UnknownExpert: if an expert is not on the model, or not in the library.
        LibraryError: if an expert in the library is not the one that was loaded, or the library cannot be
            written.
    """
    for name in names:
        context.stack.index(name)
    if fact.algorithm is None or not (fact.is_cached or isinstance(context.experts, WithArtifacts)):
        return dict(_compute(fact, context, names))

    def compute(batch: Mapping[str, Expert]) -> Mapping[str, Artifact]:
        if fact.needs_tasks:
            # Computed with the model's experts, stored under the library's: they must be the same.
            for name, expert in batch.items():
                check_loaded(context.stack, expert, name)
        return _compute(fact, replace(context, experts=batch), list(batch))

    common = fact.list_parameters(context)
    parameters = {
        name: {
            **common,
            **fact.identify_each(context, name),
            **({} if fact.digest is None else {"data": fact.digest(context, name)}),
        }
        for name in names
    }
    found = keep_artifacts(context.experts, fact.algorithm, parameters, compute, fact.check(context))
    return dict(found)


def _compute(fact: Fact, context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    """Compute artifacts, and report the beginning, since not every fact reports its steps."""
    if context.on_progress is not None:
        context.on_progress(0, 0)
    return fact.compute(_tell_work(fact, context, len(names)), names)


def _tell_work(fact: Fact, context: Context, count: int) -> Context:
    """Report that some experts' artifacts are computed now, and return the context that reports the steps."""
    if fact.work is None or context.on_work is None:
        return context
    report = partial(context.on_work, fact.work.format(experts=say_count(count, "expert")))
    report(0, 0)
    return replace(context, on_progress=report)


def find_rows(fact: Fact, context: Context, names: Sequence[str]) -> Laid:
    """Return a fact's stacked tensors for some experts, in the order of ``names``; see ``find_artifacts``."""
    artifacts = find_artifacts(fact, context, names)
    return fact.lay_out(context, names, [artifacts[name] for name in names])
