"""A fine-tuned model for tests of commands."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def save_tuned(base, folder):
    """Copy a tiny base model's folder, and change one layer and a norm."""
    shutil.copytree(base, folder)
    file = Path(folder) / "model.safetensors"
    weights = load_file(file)
    for name in ("model.layers.0.mlp.up_proj.weight", "model.norm.weight"):
        weights[name] += 0.5
    save_file(weights, file, metadata={"format": "pt"})
