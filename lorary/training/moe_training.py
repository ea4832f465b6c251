"""Training a mixture-of-experts router over experts, from the start or from the state of a killed run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.experts import Expert, check_name, hash_weights
from lorary.experts.on_top import set_apart
from lorary.experts.parts import require_low_rank
from lorary.experts.seeds import seed_for
from lorary.files import quote
from lorary.models import BaseModel, ExpertStack, attach_experts
from lorary.models.check_base import check_base
from lorary.models.standing import general_on
from lorary.passes import find_layout, split_passes
from lorary.passes.split import Pass
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.packed import TrainedRouter
from lorary.training.config import TrainConfig, list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.digests import hash_tensors
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.folder.tensor_form import TensorForm
from lorary.training.joined_tasks import join_tasks
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.memory import check_memory
from lorary.training.moe_experts import build_moe_experts
from lorary.training.objectives.moe import ROUTER, MoeExperts
from lorary.training.objectives.moe_config import MoeConfig
from lorary.training.objectives.moe_start import start_at_random, start_from_rows
from lorary.training.objectives.moe_usage import MoeUsage, measure_usage
from lorary.training.progress import UnitProgress
from lorary.training.train import check_standing

NUM_START_EXAMPLES = 32
NUM_USAGE_EXAMPLES = 256


@dataclass(frozen=True)
class MoeOutcome:
    """The result of a run."""

    router: TrainedRouter
    """The router of all layers; ``facts`` has it as ``RoutedModel.provide`` takes it."""
    experts: dict[str, Expert]
    """The experts that it routes to, in the given order: the given or the trained ones."""
    progress: UnitProgress
    """Steps, tokens, loss curves (without balance and z-loss) and best validation loss."""
    usage: MoeUsage
    """The use of the experts on up to 256 validation examples, or training examples if there are none."""

    @property
    def facts(self) -> dict[str, dict[str, Tensor]]:
        """The router as a fact: ``model.provide(outcome.facts)``."""
        return {"moe": self.router.pack()}


def train_moe(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: MoeConfig,
    run_folder: str | Path,
    *,
    start: Mapping[str, Tensor] | None = None,
    name: str = "moe",
    fresh: bool = False,
    trust_base: bool = False,
    general: Expert | None = None,
    on_progress: Callable[[TrainEvent[dict[str, Tensor]]], None] | None = None,
) -> MoeOutcome:
    """Train a router that chooses experts for each token and layer; a resumed run gives the same bits.

    Args:
        base: the base model, used on its current device. It must have no experts, and has none afterwards.
        experts: name -> expert, whose order is that of the router's rows. They are not changed.
        examples: task -> its examples, see ``prepare_examples``; tasks need not be those of the experts.
        config: the configuration.
        run_folder: folder of the resumable state, the finished parameters and the curves.
        start: module path -> rows ``[E, I]`` of all experts, for a warm start: prototypes times gains, or
            mean inputs, see ``lorary.facts``. It is not used for a random start.
        name: the router's. Trained experts are ``<name>-<expert>``.
        fresh: start over instead of resuming.
        trust_base: whether to accept experts for another base model, with a warning.
        general: the general expert that the experts build on, which is active too; None for none.
        on_progress: called after every pass.

    Returns:
        Router and experts (best validated values, or the last), curves and usage.

    Raises:
        ValueError: if there is no task, a task has no training example, the base model cannot read one, the
            settings do not suit the experts, a warm start has no rows, or the name is not safe; the message
            has all faults of settings and start.
        IncompatibleExpert: if an expert was trained on another base model or has more than low-rank factors,
            or the base model has experts.
        TrainingError: if the folder has another run, is damaged or in use, a loss is not finite, or the
            training of experts needs more memory than is free.

    Source: Shazeer et al., arXiv:1701.06538; Switch Transformers, arXiv:2101.03961; ST-MoE, arXiv:2202.08906.
    """
    _check_inputs(experts, examples, config, start, name)
    require_low_rank(experts.values(), "a router that is trained")
    for task, found in examples.items():
        check_training_examples(task, found, base.model)
    check_base(base, *experts.values(), trust=trust_base)
    form = config.make_form(list(experts))
    unit = join_tasks(examples, is_balanced=config.balanced)
    check_standing(experts, general, "used")
    with hold_run_folder(run_folder), nullcontext() if general is None else general_on(base.model, general):
        dtype = torch.float32 if config.train_experts else None
        # The general expert is added by hooks, so that the stack has the router's experts only.
        stack = attach_experts(base.model, set_apart(experts), dtype)
        try:
            if config.train_experts:
                _check_memory(stack, config.train)
            _check_start(stack, start if config.warm_start != "none" else None)
            starts = _choose_start(stack, form, unit, config, start)
            objective = MoeExperts(stack, form, starts, config)
            identity = _identify(base, experts, examples, config, starts)
            if general is not None:
                identity["general expert"] = hash_weights(general)
            folder = RunFolder(run_folder, identity, TensorForm(objective.rows.shapes), fresh=fresh)
            done = Loop(
                objective, {name: unit}, config.train.loop, folder=folder, after_pass=on_progress
            ).run()
            tensors, progress = done[name]
            with torch.no_grad():
                for key, own in tensors.items():
                    objective.rows.parts[key][0].copy_(own)
            seen = _spread(list(dict.fromkeys(unit.validation or unit.train)), NUM_USAGE_EXAMPLES)
            usage = measure_usage(objective, _split(stack, config, seen))
            router = TrainedRouter(form, {path: tensors[f"{path}.{ROUTER}"] for path in stack.layers})
            trained = build_moe_experts(stack, experts, tensors, config, name, progress)
        finally:
            stack.detach()
    if config.train_experts:
        router = router.rename(list(experts), list(trained))
    return MoeOutcome(router, trained, progress, usage)


def _check_inputs(
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: MoeConfig,
    start: Mapping[str, Tensor] | None,
    name: str,
) -> None:
    faults = []
    if not experts:
        faults.append("there must be experts to route to, found none")
    else:
        try:
            config.make_form(list(experts))
        except ValueError as error:
            faults.append(str(error))
    if not examples:
        faults.append("there must be examples of at least one task, found none")
    faults += [
        f"task {task!r} must have at least one training example, found none"
        for task, found in examples.items()
        if isinstance(found, TrainingExamples) and not found.train
    ]
    if config.warm_start != "none" and start is None:
        faults.append(
            f"warm_start {config.warm_start!r} needs rows for each expert and layer, found none: pass "
            "start=…, or use warm_start 'none'"
        )
    try:
        for expert in experts:
            check_name(f"{name}-{expert}" if config.train_experts else name)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("; ".join(dict.fromkeys(faults)))


def _check_memory(stack: ExpertStack, train: TrainConfig) -> None:
    layers, num_experts = stack.layers, len(stack.names)
    rank = max(layer.a.shape[1] for layer in layers.values())
    check_memory(
        stack.model.device,
        {path: layer.base for path, layer in layers.items()},
        replace(train, rank=rank, num_slots=num_experts),
        num_experts,
        "the number of experts",
    )


def _check_start(stack: ExpertStack, start: Mapping[str, Tensor] | None) -> None:
    if start is None:
        return
    for path, layer in stack.layers.items():
        expected = (len(stack.names), layer.a.shape[2])
        if path not in start or tuple(start[path].shape) != expected:
            found = list(start[path].shape) if path in start else "none"
            raise ValueError(
                f"a warm start needs rows {list(expected)} of layer {quote(path)}, one for each expert, "
                f"found {found}: compute them on these experts"
            )
        if not start[path].isfinite().all():
            raise ValueError(f"the rows of layer {quote(path)} must be finite: compute them again")


def _choose_start(
    stack: ExpertStack,
    form: MoeForm,
    unit: TrainingExamples,
    config: MoeConfig,
    start: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    seed = seed_for(config.train.seed, "router")
    if config.warm_start == "none" or start is None:
        return start_at_random({path: layer.a.shape[2] for path, layer in stack.layers.items()}, form, seed)
    chosen = _spread(unit.train, NUM_START_EXAMPLES)
    return start_from_rows(
        stack,
        lambda: _split(stack, config, chosen),
        form,
        start,
        has_signs=config.warm_start == "means",
        scale=config.start_scale,
        seed=seed,
    )


def _spread(examples: Sequence[TokenizedExample], most: int) -> Sequence[TokenizedExample]:
    """Return at most this number of examples of all tasks; in a unit, those of a task are consecutive."""
    number = min(most, len(examples))
    return [examples[place * len(examples) // number] for place in range(number)]


def _split(stack: ExpertStack, config: MoeConfig, examples: Sequence[TokenizedExample]) -> Iterator[Pass]:
    settings = config.train
    return split_passes(
        examples,
        [0] * len(examples),
        find_layout(stack, max(map(len, examples)), settings.row_length),
        tokens_per_pass=settings.tokens_per_pass,
        row_length=settings.row_length,
        device=stack.model.device,
    )


def _identify(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: MoeConfig,
    starts: Mapping[str, Tensor],
) -> dict[str, object]:
    # Noise is drawn for each pass, so with noise the division into passes matters.
    passes = {} if config.noise == "none" else {"tokens_per_pass": config.train.tokens_per_pass}
    return {
        "configuration": {**asdict(config), "train": {**list_effective(config.train), **passes}},
        "base model": base.fingerprint,
        "experts": [[name, _hash_expert(name, expert)] for name, expert in experts.items()],
        "examples": [[task, found.digest] for task, found in examples.items()],
        "start": hash_tensors("start", dict(starts))[:16],
    }


def _hash_expert(name: str, expert: Expert) -> str:
    factors = {
        f"{path}.{letter}": part
        for path, pair in expert.factors.items()
        for letter, part in (("a", pair.a), ("b", pair.b))
    }
    return hash_tensors(name, factors)[:16]
