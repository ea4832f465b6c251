"""Facts for routers that use examples of the experts' tasks: mean activations, embeddings, trained gates."""

from collections.abc import Collection, Mapping
from dataclasses import asdict

from natural_instructions import LONGEST, show_bar

from lorary.assembly import RoutedModel
from lorary.data import Task, find_template
from lorary.facts import find_task_facts, list_task_facts
from lorary.library import Library
from lorary.training import GateConfig, prepare_examples


def provide_material(
    model: RoutedModel,
    library: Library,
    tasks: Mapping[str, Task],
    routers: Collection[str],
    config: GateConfig,
) -> None:
    """Compute the facts of the named routers from training examples, or load them from the library."""
    needs = list_task_facts(routers)
    if not needs:
        return
    found = prepare_examples(
        model.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    examples = {name: found[name] for name in library.routed()}
    with show_bar(f"finding the {' and '.join(needs)} of {len(examples)} experts") as show:
        options = {"gates": asdict(config)}
        facts = find_task_facts(model, library, examples, needs, options=options, on_progress=show)
    model.provide(facts)
