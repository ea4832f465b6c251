"""What routers need that know examples of the experts' tasks: mean activations, embeddings, trained gates."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from natural_instructions import LONGEST, show_bar
from torch import Tensor

from lorary.assembly import RoutedModel, list_data_needs, provide_task_material
from lorary.data import Task, find_template
from lorary.facts import find_gates
from lorary.library import Library
from lorary.training import GateConfig, TrainingExamples, prepare_examples, train_gates


def provide_material(
    model: RoutedModel,
    library: Library,
    tasks: Mapping[str, Task],
    routers: Collection[str],
    config: GateConfig,
) -> None:
    """Compute what the named routers need from the tasks' training examples, or take it from the library."""
    needs = list_data_needs(routers)
    if not needs:
        return
    examples = prepare_examples(
        model.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    pairs = {name: [(e.prompt_ids, e.target_ids) for e in examples[name].train] for name in library}
    provide_task_material(model, library, pairs, routers)
    if "gates" in needs:
        model.provide(gates=train_missing_gates(model, library, examples, config))


def train_missing_gates(
    model: RoutedModel, library: Library, examples: Mapping[str, TrainingExamples], config: GateConfig
) -> dict[str, Tensor]:
    """Train the gates that the library does not have yet."""

    def train(names: Sequence[str]) -> dict[str, Tensor]:
        with show_bar(f"training the gates of {len(names)} experts") as show:
            return train_gates(
                model.stack,
                {name: examples[name] for name in names},
                config,
                on_step=lambda step, losses: show(step, config.num_steps),
            )

    digests = {name: examples[name].digest for name in library}
    return find_gates(model, library, digests, asdict(config), train)
