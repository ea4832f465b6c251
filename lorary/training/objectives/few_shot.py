"""The published protocols of few-shot adaptation of skills, as configurations."""

from dataclasses import replace
from typing import Literal, get_args

from lorary.files import quote
from lorary.training.objectives.skill_config import SkillConfig

FewShotProtocol = Literal["given", "fixed", "grid"]
"""How steps and learning rates of an adaptation are chosen, see ``list_trials``."""
FEW_SHOT_PROTOCOLS: tuple[str, ...] = get_args(FewShotProtocol)

NUM_STEPS = 1000
LEARNING_RATE = 3e-3
GRID = (1e-3, 1e-4)
TABLE_GRID = (0.5, 0.1)
VALIDATIONS = 20


def list_trials(config: SkillConfig, protocol: FewShotProtocol) -> list[SkillConfig]:
    """List the trainings of an adaptation, of which the training with the lowest validation loss is chosen.

    - ``given``: one training with the configuration as it is.
    - ``fixed``: 1,000 steps at a learning rate of 3e-3 (T0's).
    - ``grid``: 1,000 steps at learning rates of 1e-3 and 1e-4, each with 0.5 and 0.1 for the table (Natural
      Instructions'). Rates of parameters that are not trained have no variants.

    Both published protocols replace the configuration's bounds of steps, epochs and tokens, and its early
    stopping. If the configuration does not validate, ``grid`` validates 20 times.

    Args:
        config: the configuration.
        protocol: see above.

    Raises:
        ValueError: if the protocol is unknown.

    Source: MHR, arXiv:2211.03831.
    """
    if protocol not in FEW_SHOT_PROTOCOLS:
        raise ValueError(
            f"protocol must be one of {', '.join(FEW_SHOT_PROTOCOLS)}, found {quote(protocol, 60)}"
        )
    if protocol == "given":
        return [config]
    train = replace(config.train, max_steps=NUM_STEPS, epochs=None, max_tokens=None, patience=None)
    if protocol == "fixed":
        return [replace(config, train=replace(train, learning_rate=LEARNING_RATE))]
    if train.validate_every is None:
        train = replace(train, validate_every=NUM_STEPS // VALIDATIONS)
    rates = [train.learning_rate] if config.trained == "table" else GRID
    table_rates = [config.table_learning_rate] if config.trained == "skills" else TABLE_GRID
    return [
        replace(config, train=replace(train, learning_rate=rate), table_learning_rate=table_rate)
        for rate in rates
        for table_rate in table_rates
    ]
