"""PEFT's side of training: one adapter after the other, by the loop that its users write with care.

B sequences of a batch, L length of the longest.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from bench.timing import wait_for_device
from bench.training_run import Batch, TrainingRun, plan_steps
from lorary import BaseModel, TrainConfig
from lorary.training import TrainingExamples

NO_LABEL = -100


def train_alone(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    folder: Path,
    *,
    autocast: bool,
) -> TrainingRun:
    """Train one adapter per entry, one after the other, on the same batches as lorary.

    Args:
        base: the base model; the same for all, and bare again at the end.
        examples: adapter name -> tokens.
        config: how to train.
        folder: where the adapters are saved.
        autocast: run the float32 adapters in bfloat16, as ``Trainer(bf16=True)`` does.
    """
    start = time.perf_counter()
    later_seconds, losses = 0.0, []
    for name, found in examples.items():
        torch.manual_seed(config.seed)
        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(base.model, lora).train()
        precision = torch.autocast(base.model.device.type, torch.bfloat16) if autocast else nullcontext()
        seconds, loss = _take_steps(model, plan_steps(name, found, config), config, precision)
        later_seconds += seconds
        losses.append(loss)
        model.save_pretrained(folder / name, save_embedding_layers=False)
        model.unload().eval()
    return TrainingRun(
        later_seconds=later_seconds,
        whole_seconds=time.perf_counter() - start,
        loss=sum(losses) / len(losses),
    )


def _take_steps(
    model: PeftModel, batches: Sequence[Batch], config: TrainConfig, precision: AbstractContextManager[None]
) -> tuple[float, float]:
    """Train on all batches; returns the seconds after the first, and the last loss."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    start = time.perf_counter()
    for step, batch in enumerate(batches):
        if step == 1:
            wait_for_device()
            start = time.perf_counter()
        inputs = {name: tensor.to(model.device) for name, tensor in pad_batch(batch).items()}
        with precision:
            loss = model(**inputs).loss
        loss.backward()
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    wait_for_device()
    return time.perf_counter() - start, float(loss.detach())


def pad_batch(batch: Batch) -> dict[str, Tensor]:
    """Pad to the longest example: ids, attention mask and labels, ``[B, L]``; only targets have labels."""
    length = max(map(len, batch))
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, NO_LABEL)
    for row, example in enumerate(batch):
        start, end = len(example.prompt_ids), len(example)
        ids[row, :end] = torch.tensor([*example.prompt_ids, *example.target_ids])
        mask[row, :end] = 1
        labels[row, start:end] = torch.tensor(example.target_ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
