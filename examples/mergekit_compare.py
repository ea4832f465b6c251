"""Merging methods that mergekit also has: one recipe run by mergekit and by lorary, and the distance.

    python -m venv peers && peers/bin/pip install torch mergekit==0.1.5
    PYTHONPATH=. peers/bin/python examples/mergekit_compare.py

Three random experts of a tiny Llama are merged by mergekit as whole models, once with the base's weights
(``whole``) and once with a base model of zeros, where weights are the experts' changes (``changes``). Random
methods are given the same random numbers. Prints the relative distance of the merged changes over all
linear layers, and for the changes also over the blocks alone. All is in float64.
"""

import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from lorary.experts import Expert, Factors
from lorary.transforms import merge_by_recipe, read_recipe

RANK, BLOCKS = 4, 3
TWO = "models: [{model: a, parameters: {weight: 0.7}}, {model: b, parameters: {weight: 0.4}}]"
THREE = "models: [{model: a}, {model: b}, {model: c}]"
OWN = (
    "models: [{model: a, parameters: {weight: 0.7, density: 0.5, gamma: 0.05, epsilon: 0.1}}, "
    "{model: b, parameters: {weight: 0.4, density: 0.25, gamma: 0.1, epsilon: 0.2}}]"
)
GRADIENT = "models: [{model: a, parameters: {weight: [0, 1]}}, {model: b, parameters: {weight: 1}}]"
BASE = "base_model: base"
RECIPES = {
    "linear": [TWO, "merge_method: linear"],
    "linear, normalize: false": [TWO, "merge_method: linear", "parameters: {normalize: false}"],
    "linear with the base": [
        TWO[:-1] + ", {model: base, parameters: {weight: 1}}]", "merge_method: linear", BASE
    ],
    "linear, weights by block": [GRADIENT, "merge_method: linear"],
    "task_arithmetic": [TWO, "merge_method: task_arithmetic", BASE, "parameters: {lambda: 0.5}"],
    "ties": [OWN, "merge_method: ties", BASE],
    "ties, base b": [OWN.replace("model: b", "model: c"), "merge_method: ties", "base_model: b"],
    "dare_linear": [OWN, "merge_method: dare_linear", BASE],
    "dare_ties": [OWN, "merge_method: dare_ties", BASE],
    "breadcrumbs": [OWN, "merge_method: breadcrumbs", BASE],
    "breadcrumbs_ties": [OWN, "merge_method: breadcrumbs_ties", BASE, "parameters: {rescale: true}"],
    "della": [OWN, "merge_method: della", BASE],
    "della_linear": [OWN, "merge_method: della_linear", BASE],
    "sce": [THREE, "merge_method: sce", BASE, "parameters: {select_topk: 0.5}"],
    "slerp": ["models: [{model: a}]", "merge_method: slerp", "base_model: b", "parameters: {t: 0.3}"],
    "nuslerp": [TWO, "merge_method: nuslerp", BASE],
    "nuslerp by rows": [TWO, "merge_method: nuslerp", BASE, "parameters: {nuslerp_flatten: false}"],
    "karcher": [THREE, "merge_method: karcher"],
    "model_stock": [THREE, "merge_method: model_stock", BASE],
    "model_stock, filter_wise": [THREE, "merge_method: model_stock", BASE, "parameters: {filter_wise: true}"],
    "arcee_fusion": ["models: [{model: a}]", "merge_method: arcee_fusion", "base_model: b"],
    "passthrough": [
        "slices:\n- sources: [{model: a, layer_range: [0, 1]}]\n- sources: [{model: b, layer_range: [1, 3]}]",
        "merge_method: passthrough",
    ],
}  # fmt: skip


def build_model() -> LlamaForCausalLM:
    """Build the base model."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": BLOCKS}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2)).double()


def draw_expert(model: LlamaForCausalLM, name: str, seed: int) -> Expert:
    """Draw an expert on all linear layers, about as large as the base model's weights."""
    generator = torch.Generator().manual_seed(seed)
    factors = {
        path: Factors(
            torch.randn(RANK, layer.in_features, generator=generator).double(),
            0.01 * torch.randn(layer.out_features, RANK, generator=generator).double(),
        )
        for path, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }
    return Expert(name, "base", factors)


def save_models(folder: Path, experts: dict[str, Expert], has_base: bool) -> None:
    """Save the base model and each expert folded into it; without the base all weights are the changes."""
    for name in ("base", *experts):
        model = build_model()
        with torch.no_grad():
            if not has_base:
                for parameter in model.parameters():
                    parameter.zero_()
            for path, (a, b) in experts[name].factors.items() if name != "base" else ():
                model.get_submodule(path).weight += b @ a
        model.save_pretrained(folder / name)


def share_chance() -> None:
    """Make both draw the same numbers: per entry for DARE, per rank within a row for DELLA."""

    def draw(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape).uniform_(generator=torch.Generator().manual_seed(7)).to(dtype)

    def bernoulli(chances: torch.Tensor) -> torch.Tensor:
        numbers = draw(chances.shape, chances.dtype)
        if (chances != chances.flatten()[0]).any():
            numbers = numbers.gather(1, chances.argsort(1).argsort(1))
        return (numbers < chances).to(chances.dtype)

    torch.bernoulli = bernoulli
    torch.rand = lambda shape, generator=None, dtype=None: draw(shape, dtype)


def compare(folder: Path, experts: dict[str, Expert], recipe: Path) -> tuple[float, float]:
    """Merge by both, and return the relative distances: of all weight changes, and of the blocks' alone."""
    os.chdir(folder)
    LoaderCache().loaders.clear()
    config = MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text()) | {"dtype": "float64"})
    run_merge(config, "out", MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True))
    theirs, base = load_file("out/model.safetensors"), load_file("base/model.safetensors")
    merged = merge_by_recipe(experts, replace(read_recipe(recipe), rank="full")).factors
    wanted = {path: theirs[f"{path}.weight"] - base[f"{path}.weight"] for path in merged}
    found = {path: b @ a for path, (a, b) in merged.items()}
    return measure(found, wanted, list(merged)), measure(found, wanted, [p for p in merged if "layers" in p])


def measure(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], paths: list[str]) -> float:
    """Return the relative distance over some layers."""
    off = sum((found[path] - wanted[path]).square().sum() for path in paths)
    return (off / sum(wanted[path].square().sum() for path in paths)).sqrt().item()


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    experts = {name: draw_expert(build_model(), name, seed) for seed, name in enumerate("abc", 1)}
    share_chance()
    with tempfile.TemporaryDirectory() as scratch:
        print("| recipe | changes | of the blocks | whole |\n|---|---:|---:|---:|")
        for side in ("changes", "whole"):
            save_models(Path(scratch, side), experts, side == "whole")
        for name, lines in RECIPES.items():
            recipe = Path(scratch, "recipe.yml")
            recipe.write_text("\n".join(lines))
            changes, whole = (compare(Path(scratch, side), experts, recipe) for side in ("changes", "whole"))
            print(f"| {name} | {changes[0]:.0e} | {changes[1]:.0e} | {whole[0]:.0e} |", flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
