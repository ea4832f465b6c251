"""The methods that examples/few_shot.py compares, and the libraries that they use."""

import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from lorary.adaptation import AdaptConfig
from lorary.data import Task
from lorary.experts.roles import CONTROL, GENERAL
from lorary.library import Library
from lorary.library.skills import load_skills
from lorary.models import BaseModel

MULTI_TASK = "multi-task-all"
VARIANTS: dict[str, dict[str, Any]] = {
    "fresh": {"method": "fresh"},
    "multi-task": {"method": "multi-task", "multi_task": MULTI_TASK},
    "multi-task, half": {"method": "multi-task", "multi_task": "multi-task"},
    "nearest": {"method": "nearest"},
    "nearest, random": {"method": "nearest", "by": "random"},
    "nearest, cosine": {"method": "nearest", "by": "cosine"},
    "average": {"method": "average"},
    "average of 5": {"method": "average", "retrieve": 5},
    "average of 5, embedding": {"method": "average", "retrieve": 5, "by": "embedding"},
    "wudi of 5": {"method": "wudi", "retrieve": 5},
    "arrow of 5": {"method": "arrow", "retrieve": 5},
    "calibrated": {"method": "calibrated"},
    "weights of 20": {"method": "weights", "retrieve": 20},
    "lorahub of 20": {"method": "lorahub", "retrieve": 20, "by": "random"},
    "poly of 5": {"method": "poly", "retrieve": 5},
    "poly-z of 20": {"method": "poly-z", "retrieve": 20},
    "poly-mu of 5": {"method": "poly-mu", "retrieve": 5},
    "mhr of 5": {"method": "mhr", "retrieve": 5},
    "mhr-z of 20": {"method": "mhr-z", "retrieve": 20},
    "mhr-mu of 5": {"method": "mhr-mu", "retrieve": 5},
    "poly-scratch": {"method": "poly-scratch"},
    "mhr-scratch": {"method": "mhr-scratch"},
    "fresh, on top": {"method": "fresh"},
    "nearest, on top": {"method": "nearest"},
    "average, on top": {"method": "average"},
    "average of 5, on top": {"method": "average", "retrieve": 5},
    "average of 5, embedding, on top": {"method": "average", "retrieve": 5, "by": "embedding"},
    "average of 5, general trained": {"method": "average", "retrieve": 5, "train_general": True},
    "average, general trained": {"method": "average", "train_general": True},
    "nearest, general trained": {"method": "nearest", "train_general": True},
    "wudi of 5, on top": {"method": "wudi", "retrieve": 5},
    "weights of 20, on top": {"method": "weights", "retrieve": 20},
    "poly, joint skills": {"method": "poly", "skills": "poly-0"},
    "poly-z, joint skills": {"method": "poly-z", "skills": "poly-0"},
    "poly-mu, joint skills": {"method": "poly-mu", "skills": "poly-0"},
    "mhr, joint skills": {"method": "mhr", "skills": "mhr-0"},
    "mhr-z, joint skills": {"method": "mhr-z", "skills": "mhr-0"},
    "mhr-mu, joint skills": {"method": "mhr-mu", "skills": "mhr-0"},
    "mhr, joint skills, 64 splits": {"method": "mhr", "skills": "mhr64-0"},
}
"""Name -> options of ``AdaptConfig``. Joint skills are those of examples/modular_training.py."""
ON_TOP = ", on top"
"""End of the names of variants whose new experts build on a general expert of all tasks."""
ON_GENERAL = (ON_TOP, ", general trained", ", half")
"""Ends of the names of variants over OUT/residual, whose experts build on that expert."""


def open_library(out: Path, variant: str) -> Library:
    """Open the library of a variant; variants that use the multi-task expert have it there as a control."""
    if variant.endswith(ON_GENERAL):
        return Library.open(str(out / "residual"))
    library = Library.open(str(out / "library"))
    if "multi_task" in VARIANTS[variant] and MULTI_TASK not in library:
        expert = Library.open(str(out / "controls"))[MULTI_TASK]
        library[MULTI_TASK] = replace(expert, card=replace(expert.card, role=CONTROL))
    return library


def list_generals(library: Library) -> dict[str, Any]:
    """List the general expert that the library's experts build on, if they do."""
    return {entry.name: library[entry.name] for entry in library.entries(role=GENERAL)}


def make_key(
    base: BaseModel, library: Library, tasks: dict[str, Task], config: AdaptConfig, num_test: int
) -> str:
    """Hash everything on which the numbers depend."""
    texts = {name: repr(task.splits) for name, task in tasks.items()}
    used = {*library.routed(), config.multi_task, *list_generals(library)}
    if config.skills is not None:
        used |= {skill.name for skill in load_skills(library, config.skills).skills}
    hashes = {name: found for name, found in library.weight_hashes().items() if name in used}
    own = [base.fingerprint, hashes, texts, asdict(config), num_test]
    return sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]
