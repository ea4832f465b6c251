"""Training experts of any kind that PEFT trains and lorary reads, on a copy of the base model.

lorary trains low-rank factors itself, many experts in one pass. Other kinds, such as DoRA or IA3, are trained
by PEFT's own layers, one expert after the other, in the same loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from peft import PeftConfig

from lorary.experts import Expert, check_name
from lorary.models import BaseModel
from lorary.training.config import TrainConfig, list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.expert_form import ExpertForm
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.objectives.peft_expert import PeftExperts
from lorary.training.peft_settings import check_peft_kind, describe_peft_config
from lorary.training.train import TrainOutcome


def train_with_peft(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    peft_config: PeftConfig,
    config: TrainConfig,
    run_folder: str | Path,
    *,
    fresh: bool = False,
    on_progress: Callable[[TrainEvent[Expert]], None] | None = None,
) -> TrainOutcome:
    """Train one expert for each entry of ``examples`` by PEFT's layers; a killed run is resumed.

    Batches, schedule, validation and early stopping are those of ``train_experts``. Experts are trained one
    after the other, each on a copy of the base model, in padded passes. Dropout (``lora_dropout``)
    follows from the seed and the step, so that resumed runs have the same bits; the base model's own dropout
    is off.

    Args:
        base: the base model; it is copied and not changed.
        examples: expert name -> its examples, see ``prepare_examples``.
        peft_config: PEFT's configuration of the adapter, such as ``LoraConfig(use_dora=True, …)``,
            ``IA3Config`` or ``ShiraConfig``; ``make_peft_config`` and ``read_peft_config`` make one. It
            decides what is trained and how.
        config: batches, learning rate, schedule, bounds, validation and seed. Its rank, alpha,
            dropout, target modules and slots are not used.
        run_folder: folder of the resumable state, finished experts and curves.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        The experts (best validated weights, or the last) and their curves.

    Raises:
        UnsupportedAdapter: if experts cannot have this type of adapter.
        ValueError: if there is nothing to train, the base model cannot read an example, or is not float32
            where PEFT trains its weights.
        TrainingError: if the folder has another run, is damaged or in use, or a loss is not finite.
    """
    if not examples:
        raise ValueError("there must be examples of at least one expert, found none: pass some")
    for name, found in examples.items():
        check_training_examples(check_name(name), found, base.model)
    check_peft_kind(str(getattr(peft_config.peft_type, "value", peft_config.peft_type)))
    described = describe_peft_config(peft_config)
    digests = {name: found.digest for name, found in examples.items()}
    form = ExpertForm(
        shapes=None, base_fingerprint=base.fingerprint, digests=digests, config=config, peft=described
    )
    identity = {
        "configuration": list_effective(config),
        "PEFT": described,
        "base model": base.fingerprint,
        "examples": digests,
    }
    with hold_run_folder(run_folder):
        folder = RunFolder(run_folder, identity, form, fresh=fresh)
        objective = PeftExperts(base, examples, peft_config, config)
        # The objective keeps less for backward itself, because each expert has its own model.
        settings = replace(config.loop, gradient_checkpointing=False)
        done = Loop(objective, examples, settings, folder=folder, after_pass=on_progress).run()
    return TrainOutcome(
        {name: expert for name, (expert, _) in done.items()},
        {name: progress for name, (_, progress) in done.items()},
    )
