"""Training many experts in the same passes, from the start or from the state of a killed run."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, check_name, hash_weights
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.models.attach import attach_slots
from lorary.models.check_base import check_base
from lorary.models.layers import BaseLayer
from lorary.models.standing import general_on
from lorary.training.config import TrainConfig, list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.expert_form import ExpertForm
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.memory import check_memory
from lorary.training.objectives.lora import LoraExperts
from lorary.training.progress import UnitProgress
from lorary.training.rank_check import check_rank
from lorary.training.starts import Starts


@dataclass(frozen=True)
class TrainOutcome:
    """The result of a run."""

    experts: dict[str, Expert]
    """Name -> expert, in the order of the examples."""
    progress: dict[str, UnitProgress]
    """Name -> steps, tokens, loss curves, best validation loss."""


def train_experts(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    run_folder: str | Path,
    *,
    starts: Mapping[str, Expert] | None = None,
    on_top_of: Expert | None = None,
    fresh: bool = False,
    on_progress: Callable[[TrainEvent[Expert]], None] | None = None,
) -> TrainOutcome:
    """Train one expert for each entry of ``examples``, many at a time; a killed run in the folder is resumed.

    Args:
        base: the base model, used on its current device. It must have no experts, and has none afterwards.
        examples: expert name -> its examples, see ``prepare_examples``.
        config: the configuration.
        run_folder: folder of the resumable state, finished experts and curves.
        starts: name of an expert in training -> the expert that it starts from, such as one of a related
            task. A start of a higher rank is truncated to the best approximation of rank ``config.rank``; the
            card has its relative error. Missing rows and layers are initialised as usual. In a run with
            starts, also an empty mapping, the validation loss is measured before the first step too, so that
            the start is kept if it is the best.
        on_top_of: a general expert, which is active during the training and not changed. The experts build on
            it: their weight changes are added to it, and their cards have its hash. Starts must build on it
            too.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        The experts (best validated weights, or the last) and their curves.

    Raises:
        ValueError: if there is nothing to train, an expert's name is not safe as a folder's name, or the base
            model cannot read an example; or without steps if there are no starts.
        IncompatibleExpert: if ``target_modules`` match no layer, the base model has experts already, a start
            or the general expert is for another base model, a start changes layers that are not trained or
            builds on another general expert, or nothing can build on the general expert.
        TrainingError: if the folder has another run or one is training in it, if a file in it is damaged (the
            message names the file, and what to do), if a loss or weight is not finite, or if the training
            needs more memory than is free.
    """
    _check_examples(base, examples)
    if on_top_of is not None:
        check_base(base, on_top_of)
    if config.max_steps == 0 and starts is None:
        raise ValueError("without steps there must be experts to start from, found no starts: pass some")
    layers = find_layers(base.model, config.target_modules)
    check_memory(base.model.device, layers, config, len(examples))
    check_rank(layers, config.rank)
    begun = None if starts is None else Starts(base, layers, examples, starts)
    general = None if on_top_of is None else hash_weights(on_top_of)
    check_standing(starts or {}, on_top_of)
    form = _outline_experts(base, layers, examples, config, begun, general)
    loop = replace(config.loop, validate_start=starts is not None)
    with hold_run_folder(run_folder):
        digests = {name: found.digest for name, found in examples.items()}
        identity = identify_run(base, digests, config, None if begun is None else begun.digests, general)
        folder = RunFolder(run_folder, identity, form, fresh=fresh)
        with nullcontext() if on_top_of is None else general_on(base.model, on_top_of):
            stack = attach_slots(base.model, layers, min(config.num_slots, len(examples)), config.rank)
            try:
                objective = LoraExperts(stack, base, examples, config, begun, on_top_of)
                done = Loop(objective, examples, loop, folder=folder, after_pass=on_progress).run()
            finally:
                stack.detach()
    return TrainOutcome(
        {name: expert for name, (expert, _) in done.items()},
        {name: progress for name, (_, progress) in done.items()},
    )


def check_standing(experts: Mapping[str, Expert], general: Expert | None, what: str = "a start") -> None:
    """Check that the experts of a training build on its general expert, and on none if it has none.

    Args:
        experts: name -> expert, such as the starts of experts in training.
        general: the general expert; None if nothing is trained on top of one.
        what: their use, for the message.

    Raises:
        IncompatibleExpert: naming the first expert that builds on another one.
    """
    weights = None if general is None else hash_weights(general)
    for start in experts.values():
        if start.card.on_top_of == weights:
            continue
        if general is None:
            fault, cure = "builds on a general expert, but the training has none", "pass it as on_top_of=..."
        else:
            fault = f"does not build on {general.name!r}, on top of which it would be trained"
            cure = "start from experts that build on it, or train without on_top_of"
        raise IncompatibleExpert(f"expert {start.name!r} cannot be {what}: it {fault}: {cure}")


def _check_examples(base: BaseModel, examples: Mapping[str, TrainingExamples]) -> None:
    if not examples:
        raise ValueError("there must be examples of at least one expert, found none: pass some")
    for name, found in examples.items():
        check_training_examples(check_name(name), found, base.model)


def _outline_experts(
    base: BaseModel,
    layers: Mapping[str, BaseLayer],
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    starts: Starts | None,
    general: str | None,
) -> ExpertForm:
    sizes = {path: layer_shape(layer) for path, layer in layers.items()}
    return ExpertForm(
        shapes={path: ((config.rank, i), (o, config.rank)) for path, (i, o) in sizes.items()},
        base_fingerprint=base.fingerprint,
        digests={name: found.digest for name, found in examples.items()},
        config=config,
        starts={} if starts is None else starts.digests,
        on_top_of=general,
    )


def identify_run(
    base: BaseModel,
    digests: Mapping[str, str],
    config: TrainConfig,
    starts: Mapping[str, str] | None,
    general: str | None = None,
) -> dict[str, object]:
    """Return the identity of a run of ``train_experts``, as JSON values.

    Args:
        base: the base model.
        digests: name -> digest of its examples.
        config: the configuration.
        starts: name -> hash of the weights that it starts from; None for a run without starts.
        general: hash of the weights of the general expert on top of which they are trained; None for none.
    """
    return {
        "configuration": list_effective(config),
        "base model": base.fingerprint,
        "examples": dict(digests),
        # Runs of earlier versions have no such key, so runs without starts have none either.
        **({} if starts is None else {"starts": dict(starts)}),
        **({} if general is None else {"general expert": general}),
    }
