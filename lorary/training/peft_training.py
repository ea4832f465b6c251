"""Training an expert of any kind that PEFT trains and lorary reads, on a copy of the base model.

lorary trains low-rank factors itself, many experts in one pass. Other kinds, such as DoRA or IA3, are trained
by PEFT's own layers, one expert at a time.

N target tokens.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.data import TokenizedExample
from lorary.errors import TrainingError, UnsupportedAdapter
from lorary.experts import Expert, Factors, check_name, read_peft
from lorary.experts.peft_features import ACCEPTED_SETTINGS
from lorary.files import quote, say_count
from lorary.models import BaseModel
from lorary.models.logits import target_losses
from lorary.passes.layout import Layout
from lorary.passes.split import split_passes
from lorary.training.config import TrainConfig
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.loop.schedule import learning_rate_factor, plan_batches, seed_for


def train_with_peft(
    base: BaseModel,
    name: str,
    examples: TrainingExamples,
    peft_config: PeftConfig,
    config: TrainConfig,
    *,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Expert:
    """Train one expert by PEFT's model of its kind, with the batches and the schedule of ``train_experts``.

    The training is not resumed and has no validation; the last weights are kept.

    Args:
        base: the base model; it is copied and not changed.
        name: name of the expert.
        examples: its examples, see ``prepare_examples``.
        peft_config: PEFT's configuration of the adapter, such as ``LoraConfig(use_dora=True, …)``,
            ``IA3Config`` or ``ShiraConfig``. It decides which layers are changed and how.
        config: batches, learning rate, schedule, bounds and seed. Its rank, alpha, target modules and slots
            are not used.
        on_step: called after each step with the number of steps done, of all steps, and the step's loss.

    Returns:
        The expert, in memory.

    Raises:
        UnsupportedAdapter: if experts cannot have this type of adapter.
        ValueError: if the configuration asks for validation, or the base model cannot read an example.
        TrainingError: if a loss is not finite.
    """
    _check(name, base, examples, peft_config, config)
    seed = seed_for(config.seed, name)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        # PEFT completes the configuration, and changes the model in place.
        model = get_peft_model(copy.deepcopy(base.model), copy.deepcopy(peft_config))
        steps, tokens = _run(model, base, name, examples, config, seed, on_step)
    expert = _take(model, name)
    card = replace(
        expert.card,
        tasks=examples.tasks,
        base_revision=base.revision,
        base_fingerprint=base.fingerprint,
        task_type=base.task_type,
        provenance={
            "algorithm": "peft",
            "peft_type": str(getattr(peft_config.peft_type, "value", peft_config.peft_type)),
            "training": asdict(config),
            "data": {"digest": examples.digest, "num_train": len(examples.train)},
            "steps": steps,
            "tokens": tokens,
        },
    )
    return replace(expert, base_model=base.name, card=card)


def _check(
    name: str, base: BaseModel, examples: TrainingExamples, peft_config: PeftConfig, config: TrainConfig
) -> None:
    check_training_examples(check_name(name), examples, base.model)
    kind = getattr(peft_config.peft_type, "value", peft_config.peft_type)
    if kind not in ACCEPTED_SETTINGS:
        raise UnsupportedAdapter(
            f"the adapter must be of a type that experts can have, {', '.join(ACCEPTED_SETTINGS)}, found "
            f"{quote(kind, 60)}: choose one of these"
        )
    if config.validate_every is not None:
        raise ValueError("validate_every must be None, since this training has no validation, found a number")


def _run(
    model: PeftModel,
    base: BaseModel,
    name: str,
    examples: TrainingExamples,
    config: TrainConfig,
    seed: int,
    on_step: Callable[[int, int, float], None] | None,
) -> tuple[int, int]:
    """Train the adapter; return the numbers of steps and tokens."""
    inner: PreTrainedModel = model.get_base_model()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    lengths = [len(each.prompt_ids) + len(each.target_ids) for each in examples.train]
    batches = plan_batches(
        lengths,
        config.batch_size,
        seed=seed,
        epochs=config.epochs,
        max_steps=config.max_steps,
        max_tokens=config.max_tokens,
    )
    layout = Layout.ENCODED if base.is_encoder_decoder else Layout.PADDED
    model.train()
    for step, batch in enumerate(batches):
        factor = learning_rate_factor(step, len(batches), config.warmup_ratio, config.schedule)
        for group in optimizer.param_groups:
            group["lr"] = factor * config.learning_rate
        loss = _add_gradients(inner, [examples.train[index] for index in batch], layout, config)
        if not loss < float("inf"):
            raise TrainingError(
                f"expert {name!r}: the training loss must be finite, found {loss} after "
                f"{say_count(step, 'step')}: lower learning_rate "
                f"({config.learning_rate:g}), or check its examples"
            )
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        if on_step is not None:
            on_step(step + 1, len(batches), loss)
    return len(batches), sum(lengths[index] for batch in batches for index in batch)


def _add_gradients(
    model: PreTrainedModel, sequences: Sequence[TokenizedExample], layout: Layout, config: TrainConfig
) -> float:
    """Add the gradients of the mean loss of a batch's target tokens; return this loss."""
    passes = split_passes(
        sequences,
        [0] * len(sequences),
        layout,
        tokens_per_pass=config.tokens_per_pass,
        row_length=config.row_length,
        device=model.device,
    )
    num_targets = sum(len(sequence.target_ids) for sequence in sequences)
    total = 0.0
    for part in passes:
        inputs: dict[str, Any] = part.batch.inputs_for(model)
        losses: Tensor = target_losses(model, inputs, part.batch.positions, part.batch.labels)  # [N]
        loss = losses.sum() / num_targets
        loss.backward()
        total += float(loss.detach())
    return total


def _take(model: PeftModel, name: str) -> Expert:
    """Return PEFT's adapter as an expert in memory."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The base model's own embeddings are not the adapter's.
        model.save_pretrained(folder, save_embedding_layers=False)
        expert = read_peft(Path(folder), name)
        factors = {path: Factors(a.clone(), b.clone()) for path, (a, b) in expert.factors.items()}
        parts = {
            path: tuple(
                part.replace_tensors({field: tensor.clone() for field, tensor in part.tensors.items()})
                for part in own
            )
            for path, own in expert.parts.items()
        }
        return replace(expert, factors=factors, parts=parts)
