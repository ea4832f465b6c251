"""What routers know of the experts' tasks, from a few examples of these."""

from collections.abc import Collection, Mapping, Sequence

from lorary.assembly.routed_model import RoutedModel
from lorary.facts.embeddings import find_embeddings
from lorary.facts.means import find_means
from lorary.library import Library
from lorary.routing import ROUTERS
from lorary.routing.material import FROM_DATA

TokenizedPair = tuple[Sequence[int], Sequence[int]]
"""Token ids of an example's prompt and of its answer."""
NUM_TEXTS = 20
"""Of each task; more change means and nearest neighbours little."""


def list_data_needs(routers: Collection[str]) -> set[str]:
    """List what these routers need that only data can tell: ``means``, ``embeddings``, ``gates``.

    Args:
        routers: names; those of other routes need nothing.
    """
    needs = [ROUTERS[router].config().needs for router in routers if router in ROUTERS]
    return set(FROM_DATA) & {need for some in needs for need in some}


def provide_task_material(
    model: RoutedModel,
    library: Library,
    examples: Mapping[str, Sequence[TokenizedPair]],
    routers: Collection[str],
) -> None:
    """Take means and embeddings, as routers need them, from the library, or find them and keep them there.

    Means are those of whole examples, embeddings those of prompts. Gates have to be trained, which is for
    `train_gates` and `find_gates`.

    Args:
        model: the model, on whose base model the examples run.
        library: where its experts are from.
        examples: expert -> training examples of its own task, of which the first 20 are used.
        routers: names of routers.
    """
    needs = list_data_needs(routers)
    few = {name: found[:NUM_TEXTS] for name, found in examples.items()}
    if "means" in needs:
        texts = {name: [(*prompt, *answer) for prompt, answer in found] for name, found in few.items()}
        model.provide(means=find_means(model, library, texts), names=list(texts))
    if "embeddings" in needs:
        prompts = {name: [prompt for prompt, _ in found] for name, found in few.items()}
        model.provide(embeddings=find_embeddings(model, library, prompts))
