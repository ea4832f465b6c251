"""The same experts on the same model as where models are assembled."""

from tests.assembly.conftest import base, cache, experts, input_ids, model, ready, sequences

__all__ = ["base", "cache", "experts", "input_ids", "model", "ready", "sequences"]
