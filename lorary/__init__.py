"""One language model out of a library of LoRA experts.

The names below are loaded when first used: ``import lorary`` itself imports nothing heavy, reads nothing and
registers nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorary.assembly import RoutedModel, load_model, save_model
    from lorary.data import Example, Task, Template, read_task
    from lorary.errors import (
        BaseModelError,
        DataError,
        FormatError,
        IncompatibleExpert,
        LibraryError,
        LoraryError,
        TrainingError,
        UnknownExpert,
        UnsupportedAdapter,
    )
    from lorary.evaluation import Result, evaluate
    from lorary.experts import Expert, ExpertCard, Factors, add_general, read_peft, write_peft
    from lorary.experts.skills import SkillSet, make_skill_set
    from lorary.library import Library
    from lorary.library.skills import load_skills, store_skills
    from lorary.models import BaseModel, fold, load_base
    from lorary.models.extraction import extract_expert
    from lorary.progress import ProgressBar
    from lorary.training import SkillConfig, TrainConfig, adapt_skills, train_experts, train_skills
    from lorary.transforms import merge

__all__ = [
    "BaseModel",
    "BaseModelError",
    "DataError",
    "Example",
    "Expert",
    "ExpertCard",
    "Factors",
    "FormatError",
    "IncompatibleExpert",
    "Library",
    "LibraryError",
    "LoraryError",
    "ProgressBar",
    "Result",
    "RoutedModel",
    "SkillConfig",
    "SkillSet",
    "Task",
    "Template",
    "TrainConfig",
    "TrainingError",
    "UnknownExpert",
    "UnsupportedAdapter",
    "__version__",
    "adapt_skills",
    "add_general",
    "evaluate",
    "extract_expert",
    "fold",
    "load_base",
    "load_model",
    "load_skills",
    "make_skill_set",
    "merge",
    "read_peft",
    "read_task",
    "save_model",
    "store_skills",
    "train_experts",
    "train_skills",
    "write_peft",
]

__version__ = "0.1.0"

# Public name -> the room it lives in.
_ROOMS = {
    "BaseModel": "models",
    "BaseModelError": "errors",
    "DataError": "errors",
    "Example": "data",
    "Expert": "experts",
    "ExpertCard": "experts",
    "Factors": "experts",
    "FormatError": "errors",
    "IncompatibleExpert": "errors",
    "Library": "library",
    "LibraryError": "errors",
    "LoraryError": "errors",
    "ProgressBar": "progress",
    "Result": "evaluation",
    "RoutedModel": "assembly",
    "SkillConfig": "training",
    "SkillSet": "experts.skills",
    "Task": "data",
    "Template": "data",
    "TrainConfig": "training",
    "TrainingError": "errors",
    "UnknownExpert": "errors",
    "UnsupportedAdapter": "errors",
    "adapt_skills": "training",
    "add_general": "experts",
    "evaluate": "evaluation",
    "extract_expert": "models.extraction",
    "fold": "models",
    "load_base": "models",
    "load_model": "assembly",
    "load_skills": "library.skills",
    "make_skill_set": "experts.skills",
    "merge": "transforms",
    "read_peft": "experts",
    "read_task": "data",
    "save_model": "assembly",
    "store_skills": "library.skills",
    "train_experts": "training",
    "train_skills": "training",
    "write_peft": "experts",
}


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'lorary' has no attribute {name!r}")
    value = getattr(import_module(f"lorary.{room}"), name)
    globals()[name] = value  # the next use finds it without asking
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
