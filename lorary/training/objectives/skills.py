"""Skills as an objective: one unit, whose row has the factors of all skills and the table of all tasks.

S skills, with the shared one; Q splits, R rank, I layer input, O layer output, P tasks of a pass, T tokens, N
target tokens of a pass.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.experts.seeds import seed_for
from lorary.experts.skills.mixing import compute_weights, mix_skills
from lorary.experts.skills.task_table import append_shared, name_group
from lorary.files import say_count
from lorary.models import ExpertStack
from lorary.passes.split import Pass
from lorary.routing import Choice, Chooser
from lorary.training.loop.adamw_parts import AdamWParts, AdamWPartsSteps
from lorary.training.loop.contract import Objective
from lorary.training.loop.rows import ParameterRows
from lorary.training.objectives.expert_runs import make_adamw
from lorary.training.objectives.skill_config import SkillConfig
from lorary.training.objectives.skill_values import TABLE, is_trained
from lorary.training.progress import UnitProgress


@dataclass(frozen=True)
class TaskExample(TokenizedExample):
    """An example of one of the tasks that share skills."""

    task: int = 0
    """The task's row in the table."""


class SharedSkills(Objective[dict[str, Tensor]]):
    """The objective of ``train_skills``, see ``lorary.training.loop.contract.Objective``.

    In each pass, the skills' factors are mixed once for each task that is in it, as plain tensors with
    gradients, and take the place of the layers' own. So a token costs as much as with one expert.

    Args:
        stack: one empty expert on the base model, from ``attach_slots``; its factors are replaced.
        values: first values of all parameters, from ``draw_values`` or ``take_values``; those that are not
            trained keep them.
        config: the configuration.
    """

    def __init__(self, stack: ExpertStack, values: Mapping[str, Tensor], config: SkillConfig):
        self.stack, self.config, self._start = stack, config, values
        device = next(iter(stack.layers.values())).a.device
        shapes = {name: own.shape for name, own in values.items() if is_trained(name, config)}
        self.rows = ParameterRows(1, shapes, device)
        self.tables = [name for name in values if name.startswith(TABLE)]
        self._fixed = {name: own.to(device) for name, own in values.items() if name not in shapes}
        self._adamw = _choose_optimizer(config, shapes)
        self._optimizer: AdamWPartsSteps | None = None
        self._seed = 0
        for layer in stack.layers.values():
            # Parameters cannot be replaced by tensors with gradients, so these are no longer parameters.
            del layer.a, layer.b_t

    @torch.no_grad()
    def start(self, name: str, slot: int, num_steps: int) -> AdamWPartsSteps:
        """Start with the first values."""
        self._seed = seed_for(self.config.train.seed, name)
        for key, part in self.rows.parts.items():
            part[slot].copy_(self._start[key])
        self._optimizer = self._adamw.start(self.rows.values[slot], num_steps)
        return self._optimizer

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Return the example's task: all examples of a task use the same weights."""
        assert isinstance(example, TaskExample)
        return example.task

    def routing(self, part: Pass) -> Chooser:
        """Mix the factors of the tasks in a pass, and return the chooser that gives each task its own.

        Without gradients, as in validation, weights are those of evaluation.
        """
        used = part.requests.unique().to(self.rows.values.device)
        weights = self._compute_weights(used)
        for path, layer in self.stack.layers.items():
            own = weights[f"{TABLE}{name_group(path, self.config.granularity)}"]
            layer.a = mix_skills(self._find(f"{path}.a"), own)
            layer.b_t = mix_skills(self._find(f"{path}.b_t"), own)
        return _OwnFactors(used, self.config.train.scale)

    def _find(self, name: str) -> Tensor:
        """Return the current values of a parameter."""
        return self._fixed[name] if name in self._fixed else self.rows.parts[name][0]

    def _compute_weights(self, used: Tensor) -> dict[str, Tensor]:
        """Return the weights of some tasks ``[P]``: table's name -> ``[P, Q, S]``."""
        config = self.config
        is_training = torch.is_grad_enabled() and config.trained != "skills"
        noise = self._draw_noise() if is_training and config.weighting != "sigmoid" else {}
        found = {}
        for name in self.tables:
            logits, own = self._find(name)[used], noise.get(name)
            weighting = config.weighting if is_training else "sigmoid"
            weights = compute_weights(
                logits, config.num_splits, weighting, None if own is None else own[used]
            )
            found[name] = append_shared(weights, config.shared_skill)
        return found

    def _draw_noise(self) -> dict[str, Tensor]:
        """Draw the noise of a step for all tasks, which depends on nothing but seed and step.

        So a resumed run draws the same, and it does not matter into which passes a batch is split.
        """
        assert self._optimizer is not None
        generator = torch.Generator().manual_seed(seed_for(self._seed, f"step {self._optimizer.num_taken}"))
        shapes = self.rows.shapes
        return {
            name: torch.rand(shapes[name], generator=generator).to(self.rows.values.device)
            for name in self.tables
        }

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        if not math.isfinite(loss):
            raise TrainingError(
                f"skills {name!r}: the {what} must be finite, found {loss} after "
                f"{say_count(step, 'step')}: lower "
                f"learning_rate ({self.config.train.learning_rate:g}) or table_learning_rate "
                f"({self.config.table_learning_rate:g}) and run again with fresh=True"
            )
        return loss

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> dict[str, Tensor]:
        """Return the trained parameters, by the names of ``outline_skills``, as copies on the CPU."""
        self.check_loss(name, "sum of weights", float(values.sum()), progress.step)
        return self.rows.copy_row(values)

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._adamw.find_fault(tensors, num_steps)


def _choose_optimizer(config: SkillConfig, shapes: Mapping[str, torch.Size]) -> AdamWParts:
    adamw = make_adamw(config.train)
    num_logits = sum(shape.numel() for name, shape in shapes.items() if name.startswith(TABLE))
    num_weights = sum(shape.numel() for shape in shapes.values()) - num_logits
    parts = {
        "skills": (adamw, num_weights),
        "table": (replace(adamw, learning_rate=config.table_learning_rate, weight_decay=0.0), num_logits),
    }
    return AdamWParts({name: (settings, size) for name, (settings, size) in parts.items() if size})


class _OwnFactors:
    """A chooser that gives each token the mixed factors of its task.

    Args:
        tasks: the tasks whose factors the layers have, sorted, ``[P]``.
        scale: LoRA's factor.
    """

    def __init__(self, tasks: Tensor, scale: float):
        self.tasks, self.scale = tasks, scale

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Choose the factors of each token's task; see ``Chooser``."""
        places = torch.searchsorted(self.tasks, rows.clamp(min=int(self.tasks[0])))
        return Choice(places[:, None], (rows >= 0)[:, None] * torch.tensor(self.scale, device=rows.device))
