"""Small synthetic text tasks: seeded, offline, easy for an expert and hard for its base model."""

from lorary.data.synthetic.catalogue import SYNTHETIC_TASKS, generate_task, generate_tasks
from lorary.data.synthetic.places import read_synthetic

__all__ = ["SYNTHETIC_TASKS", "generate_task", "generate_tasks", "read_synthetic"]
