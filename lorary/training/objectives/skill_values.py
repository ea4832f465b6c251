"""The parameters of skills and their table by name: shapes, and first values.

S skills, with the shared one; Q splits, R rank, I layer input, O layer output.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

import torch
from torch import Tensor

from lorary.experts.skills import SkillSet
from lorary.experts.skills.task_table import TaskTable, mean_row, name_group
from lorary.training.objectives.skill_config import SkillConfig

# Begins the names of tables; no module path has a space.
TABLE = "table of "
# PEFT's.
LARGEST_LOGIT = 1e-3


def outline_skills(
    sizes: Mapping[str, tuple[int, int]], num_tasks: int, config: SkillConfig
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all parameters: factors first.

    Args:
        sizes: module path -> (I, O).
        num_tasks: number of tasks.
        config: the configuration.

    Returns:
        ``"<path>.a"`` -> ``[S, R, I]``, ``"<path>.b_t"`` -> ``[S, R, O]`` and ``"table of <group>"`` ->
        ``[tasks, Q · skills]``, without the shared skill.
    """
    num_skills, rank = config.num_skills + config.shared_skill, config.train.rank
    factors = {
        f"{path}.{key}": (num_skills, rank, width)
        for path, pair in sizes.items()
        for key, width in zip(("a", "b_t"), pair, strict=True)
    }
    groups = dict.fromkeys(name_group(path, config.granularity) for path in sizes)
    return factors | {
        f"{TABLE}{group}": (num_tasks, config.num_splits * config.num_skills) for group in groups
    }


def is_trained(name: str, config: SkillConfig) -> bool:
    """Return whether a parameter, named as in ``outline_skills``, is trained."""
    return config.trained == "all" or (config.trained == "table") == name.startswith(TABLE)


def draw_values(shapes: Mapping[str, tuple[int, ...]], config: SkillConfig, seed: int) -> dict[str, Tensor]:
    """Draw first values as PEFT does: ``a`` uniform in ±1/√(I/Q), ``b`` zero, logits uniform in ±0.001.

    Args:
        shapes: those of ``outline_skills``.
        config: the configuration; with ``new_rows='uniform'`` logits are zero.
        seed: of the values.

    Returns:
        Parameter -> values, float32.
    """
    generator, values = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        if name.startswith(TABLE):
            values[name] = _draw_rows(shape, config, generator)
        elif name.endswith(".a"):
            values[name] = _draw(shape, (shape[-1] / config.num_splits) ** -0.5, generator)
        else:
            values[name] = torch.zeros(shape)
    return values


def take_values(start: SkillSet, tasks: Sequence[str], config: SkillConfig, seed: int) -> dict[str, Tensor]:
    """Take first values from other skills and their table.

    Args:
        start: the skills, of one rank; their ``b`` is divided by LoRA's factor.
        tasks: the tasks of the training. Those in the table of ``start`` start from their rows,
            others as ``new_rows`` says.
        config: the configuration.
        seed: of random rows.

    Returns:
        Parameter -> values, float32.
    """
    generator, values = torch.Generator().manual_seed(seed), {}
    for path in start.skills[0].outlines:
        pairs = [skill.factors[path] for skill in start.skills]
        values[f"{path}.a"] = torch.stack([pair.a.float() for pair in pairs])
        values[f"{path}.b_t"] = torch.stack([pair.b.T.float() for pair in pairs]) / config.train.scale
    for group, logits in start.table.logits.items():
        values[f"{TABLE}{group}"] = _take_rows(start.table, logits.float(), tasks, config, generator)
    return values


def _take_rows(
    table: TaskTable, logits: Tensor, tasks: Sequence[str], config: SkillConfig, generator: torch.Generator
) -> Tensor:
    rows = _draw_rows((len(tasks), logits.shape[1]), config, generator)
    if config.new_rows == "mean":
        rows = mean_row(logits).expand(len(tasks), -1).clone()
    for place, task in enumerate(tasks):
        if task in table.tasks:
            rows[place] = logits[table.index(task)]
    return rows


def _draw_rows(shape: tuple[int, ...], config: SkillConfig, generator: torch.Generator) -> Tensor:
    return torch.zeros(shape) if config.new_rows == "uniform" else _draw(shape, LARGEST_LOGIT, generator)


def _draw(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def digest_skills(skill_set: SkillSet) -> str:
    """Return a hash of skills and table, which identifies a run's start."""
    digest = sha256(repr(skill_set.table.tasks).encode())
    for name, tensor in _list_tensors(skill_set):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _list_tensors(skill_set: SkillSet) -> Iterator[tuple[str, Tensor]]:
    yield from skill_set.table.logits.items()
    for skill in skill_set.skills:
        for path, (a, b) in skill.factors.items():
            yield path, a
            yield path, b
