"""Small text tasks that lorary writes itself: seeded, offline, easy for an expert and hard for its base."""

from lorary.data.generated.catalogue import GENERATED_TASKS, generate_task, generate_tasks
from lorary.data.generated.recipe import Recipe

__all__ = ["GENERATED_TASKS", "Recipe", "generate_task", "generate_tasks"]
