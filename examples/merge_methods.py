"""All methods that merge all experts of a library into one, and the merging.

RegMean uses 256 tokens of each expert's training examples; LoraHub finds weights of 20 random experts on one
validation example of each of 16 of the library's tasks. slerp merges two experts, so it is applied in a tree
of pairs. ``task_arithmetic`` and ``cat`` differ from the linear sum only in the norm. Pico comes before one
method of each kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from natural_instructions import LONGEST, read_tasks, show_bar
from rich.console import Console

import lorary
from lorary import Expert
from lorary.data import find_template
from lorary.experts import Factors
from lorary.facts import collect_inputs
from lorary.library import Library
from lorary.lowrank import frobenius_norm
from lorary.models import attach_experts
from lorary.training import prepare_examples, search_weights

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "linear": ("linear", {}),
    "ties": ("ties", {}),
    "ties, core": ("ties", {"space": "core"}),
    "dare": ("dare", {}),
    "dare_ties": ("dare_ties", {}),
    "della": ("della", {}),
    "breadcrumbs": ("breadcrumbs", {}),
    "sce": ("sce", {}),
    "slerp, tree": ("slerp", {}),
    "knots": ("knots", {}),
    "ctm": ("ctm", {}),
    "ctm, linear": ("ctm", {"inner": "linear"}),
    "tsv": ("tsv", {}),
    "iso": ("iso", {}),
    "iso_cts": ("iso_cts", {}),
    "svd_cur": ("svd_cur", {}),
    "wudi": ("wudi", {}),
    "wudi, adam": ("wudi", {"solver": "adam"}),
    "regmean": ("regmean", {}),
    "lorahub": ("linear", {}),
    "linear, pico": ("linear", {"pico": "merge"}),
    "ties, pico": ("ties", {"pico": "merge"}),
    "tsv, pico": ("tsv", {"pico": "merge"}),
    "wudi, pico": ("wudi", {"pico": "merge"}),
}


def merge_all(experts: Library, names: Sequence[str], rank: int, data: Path, out: Path) -> dict[str, Expert]:
    """Merge by every method, or use the merges of an earlier call."""
    place = Library.open(str(out / f"merged-{rank}"), create=True)
    for name in names:
        method, options = METHODS[name]
        if name in place:
            continue
        if method == "slerp":
            expert = merge_tree(experts, tuple(experts), rank)
        else:
            with show_bar(f"merging by {name}") as progress:
                looked = look_at_data(experts, name, data)
                expert = lorary.merge(experts, method, rank=rank, on_progress=progress, **options, **looked)
        place[name] = expert.rename(name)
    return {name: place[name] for name in names}


def merge_tree(experts: Mapping[str, Expert], names: Sequence[str], rank: int) -> Expert:
    """Merge by slerp, two at a time; the position in each pair gives all experts the same weight."""
    if len(names) == 1:
        return experts[names[0]]
    half = len(names) // 2
    pair = [merge_tree(experts, part, rank).rename(part[0]) for part in (names[:half], names[half:])]
    fits = sum(expert.max_rank for expert in pair) <= rank
    return lorary.merge(pair, "slerp", rank="full" if fits else rank, t=1 - half / len(names))


def look_at_data(experts: Library, method: str, data: Path) -> dict[str, Any]:
    """Compute the inputs of the methods that use examples."""
    if method not in ("regmean", "lorahub"):
        return {}
    tasks = read_tasks(data)
    base = lorary.load_base()
    examples = prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    stack = attach_experts(base.model, dict(experts))
    if method == "regmean":
        texts = {name: [(*e.prompt_ids, *e.target_ids) for e in examples[name].train] for name in experts}
        return {"activations": collect_inputs(stack, texts, 256)}
    few = [examples[name].validation[0] for name in list(experts)[:: len(experts) // 16][:16]]
    found = search_weights(stack, list(experts), few)
    Console().print(f"lorahub: loss {found.loss:.3f}, base {found.base_loss:.3f}")
    return {"names": list(found.weights), "weights": found.weights}


def length(expert: Expert) -> float:
    """Measure the Frobenius norm of all weight changes of an expert together."""
    return sum(float(frobenius_norm(a, b)) ** 2 for a, b in expert.factors.values()) ** 0.5


def scale(expert: Expert, number: float) -> Expert:
    """Multiply an expert's weight changes by a number."""
    return replace(expert, factors={path: Factors(a, number * b) for path, (a, b) in expert.factors.items()})
