"""The published ways to adapt skills to new tasks, as a start and a configuration for ``train_skills``."""

from dataclasses import replace

from lorary.experts.skills import SkillSet, average_skills
from lorary.files import quote
from lorary.training.objectives.skill_config import ADAPTATION_MODES, AdaptationMode, SkillConfig, Trained
from lorary.training.skill_start import fit_config

TRAINED: dict[str, Trained] = {"": "all", "z": "table", "mu": "skills"}


def prepare_mode(mode: AdaptationMode, start: SkillSet, config: SkillConfig) -> tuple[SkillSet, SkillConfig]:
    """Prepare the adaptation of skills to new tasks.

    - ``poly``, ``mhr``: skills and table are trained; rows of new tasks start as ``new_rows`` says.
    - ``poly-z``, ``mhr-z``: the table is trained, the skills are not.
    - ``poly-mu``, ``mhr-mu``: the skills' mean is trained as one skill. If all skills were trained with
      constant equal weights, AdamW would change them all alike, and thereby their mean, so one skill is
      enough.

    Args:
        mode: see above; ``poly`` for skills with one split, ``mhr`` for several.
        start: the skills: of a training, or any experts (``make_skill_set``).
        config: the other settings: rates, steps, ``weighting`` and ``new_rows``.

    Returns:
        The skills to start from, and the configuration that suits them.

    Raises:
        ValueError: if the mode is unknown, or does not suit the number of splits.

    Source: Polytropon, arXiv:2202.13914; MHR, arXiv:2211.03831.
    """
    if mode not in ADAPTATION_MODES:
        raise ValueError(f"mode must be one of {', '.join(ADAPTATION_MODES)}, found {quote(mode, 60)}")
    family, _, ending = mode.partition("-")
    num_splits = start.table.num_splits
    if (family == "poly") != (num_splits == 1):
        wanted, other = ("1 split", "mhr") if family == "poly" else ("several splits", "poly")
        raise ValueError(
            f"mode {mode!r} needs skills with {wanted}, found {num_splits}: use mode "
            f"{mode.replace(family, other)!r}, or other skills"
        )
    if ending == "mu":
        start, config = average_skills(start), replace(config, new_rows="uniform")
    return start, replace(fit_config(config, start), trained=TRAINED[ending])
