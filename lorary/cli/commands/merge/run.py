"""Check a merge and print its plan; then merge, store and report."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from jsonargparse import Namespace
from rich import progress
from torch import Tensor

from lorary.cli.command_table import load_module
from lorary.cli.commands.merge.by_examples import LORAHUB, REGMEAN, check_options, check_recipe
from lorary.cli.commands.merge.place import (
    MergePlace,
    list_places,
    parse_place,
    require_free,
    require_room,
    store_expert,
)
from lorary.cli.commands.merge.recipe import make_recipes
from lorary.cli.commands.merge.report import describe_merge, describe_plan, summarize_merge, summarize_plan
from lorary.cli.console import open_bar, print_next, show_status
from lorary.cli.filled_library import open_filled_library
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_command, repeat_prompts
from lorary.cli.trusted_base import choose_experts
from lorary.experts import Expert
from lorary.experts.on_top import as_general
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.library.general import take_general
from lorary.transforms import MergeRecipe, merge_by_recipe, plan_merge
from lorary.transforms.merging import MergePlan
from lorary.transforms.merging.recipe.placing import name_experts


def run(options: Namespace) -> int:
    """Check the options and print the plan; then merge, store and report."""
    check_options(options)
    library = open_filled_library(options.library)
    place = choose_place(options, library)
    if options.method == LORAHUB:
        recipes: Sequence[MergeRecipe] = [load_method(LORAHUB).outline_recipe(options, library)]
    else:
        recipes = make_recipes(options, library)
        for recipe in recipes:
            check_recipe(options, recipe)
    places = list_places(place, recipes)
    if not options.replace:
        for other in places:
            if other is not None:
                require_free(other, library)
    found = [run_one(options, library, recipe, own) for recipe, own in zip(recipes, places, strict=True)]
    if options.json:
        print_json(found[0] if len(found) == 1 else found)
    else:
        print_next("lorary", *suggest_next(options, library, recipes, place))
    return 0


def load_method(method: str) -> ModuleType:
    """Import the module of a method that needs examples.

    These import transformers, which takes two seconds; other merges start without it.
    """
    return load_module(f"merge.{method}")


def run_one(
    options: Namespace, library: Library, recipe: MergeRecipe, place: MergePlace | None
) -> dict[str, Any]:
    """Print the plan of one merge; then merge, store and report; returns the outcome in JSON values."""
    search = load_method(LORAHUB) if options.method == LORAHUB else None
    experts = find_experts(options, library, recipe)
    require_one_kind(experts, recipe)
    plan = make_plan(experts, recipe)
    if not (options.json and options.dry_run):
        print_plan(plan, recipe, options, place)
    if place is None or options.dry_run:
        return summarize_plan(plan)
    require_room(place, library, plan.result_bytes)
    begun = time.monotonic()
    activations = None
    if search:
        general = take_general(library, recipe.names)
        recipe, found = search.run_search(options, experts, recipe, general)
        print_line(search.describe_search(found), stderr=options.json)
    elif recipe.merge_method == REGMEAN:
        activations = load_method(REGMEAN).collect_activations(options, library, experts, recipe)
    expert = merge_experts(experts, recipe, place.name, activations)
    if search:
        expert = search.note_search(expert, found)
    if options.as_general:
        expert = as_general(expert, library)
    store_expert(expert, place, library)
    return report(options, expert, place, time.monotonic() - begun)


def suggest_next(
    options: Namespace, library: Library, recipes: Sequence[MergeRecipe], place: MergePlace | None
) -> list[str]:
    """Write the next command: after a dry run the merge itself, else one that uses the merged expert."""
    if place is None or options.dry_run:
        out = [] if place else ["--out", recipes[-1].name or "NAME"]
        return ["merge", *repeat_command(options, *out, without="--dry-run")]
    if place.folder is not None:
        name = ["--name", f"{place.name}-merged"] if place.name in library else []
        return ["library", "add", options.library, place.folder, *name]
    parents = {name for recipe in recipes for name in recipe.names}
    prompts = repeat_prompts(entry for entry in library.entries() if entry.name in parents)
    device = [] if options.device is None else ["--device", options.device]
    return ["generate", options.library, "PROMPT", "--expert", place.name, *prompts, *device]


def choose_place(options: Namespace, library: Library) -> MergePlace | None:
    """Choose the place of the merged expert; None for a dry run without ``--out``.

    Raises:
        ValueError: if ``--out`` is missing, or not a valid name for an expert.
        LibraryError, FormatError: if the place is not free, and ``--replace`` is not given.
    """
    if options.out is None:
        if options.dry_run:
            return None
        raise ValueError("--out is missing: give the merged expert a name in the library, or a folder")
    place = parse_place(options.out)
    if not options.replace:
        require_free(place, library)
    return place


def find_experts(options: Namespace, library: Library, recipe: MergeRecipe) -> Mapping[str, Expert]:
    """Return the experts of the library, with ``--trust-base`` for the recipe's base model or for one."""
    named = name_experts(library, recipe)
    base_model = named.base_model
    names = list(dict.fromkeys(name for name in named.names if name in library))
    if base_model is not None and base_model in library:
        return choose_experts(options, library, list(dict.fromkeys([*names, base_model])))
    return choose_experts(options, library, names, base_model)


def make_plan(experts: Mapping[str, Expert], recipe: MergeRecipe) -> MergePlan:
    """Check that the experts can be merged, and estimate memory and time."""
    with show_status(f"checking {say_count(len(recipe.names), 'expert')}"):
        return plan_merge(experts, recipe)


def require_one_kind(experts: Mapping[str, Expert], recipe: MergeRecipe) -> None:
    """Refuse low-rank and sparse experts together, before any work, since no PEFT adapter can have both.

    Raises:
        ValueError: naming one expert of each kind, and what is possible.
    """
    chosen = {name: experts[name] for name in name_experts(experts, recipe).names if name in experts}
    sparse = [name for name, expert in chosen.items() if "sparse" in expert.kinds]
    others = [name for name in chosen if name not in sparse]
    if sparse and others:
        raise ValueError(
            f"expert {quote(sparse[0])} has sparse changes and {quote(others[0])} low-rank factors, and no "
            "PEFT adapter can have both: merge each kind separately with --experts; in Python, "
            "lorary.merge merges both into one expert for load_model and fold"
        )


def print_plan(plan: MergePlan, recipe: MergeRecipe, options: Namespace, place: MergePlace | None) -> None:
    """Print the plan of a merge and its place."""
    out = [] if place is None else [("out", place.folder or place.name)]
    facts = [*describe_plan(plan, recipe), *out]
    print_facts(facts, stderr=options.json)


def merge_experts(
    experts: Mapping[str, Expert],
    recipe: MergeRecipe,
    name: str,
    activations: Mapping[str, Sequence[Tensor]] | None,
) -> Expert:
    """Merge with a progress bar."""
    try:
        with show_layers(f"merging {say_count(len(recipe.names), 'expert')}") as show:
            return merge_by_recipe(experts, recipe, name=name, activations=activations, on_progress=show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written; run the same command again to start over") from None


@contextmanager
def show_layers(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of merged layers on a terminal's stderr; yields a function of number done and total."""
    columns = (
        progress.MofNCompleteColumn(),
        progress.TextColumn("layers"),
        progress.TimeRemainingColumn(compact=True),
    )
    with open_bar(*columns, is_transient=True) as bar:
        line = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def report(options: Namespace, expert: Expert, place: MergePlace, seconds: float) -> dict[str, Any]:
    """Print the outcome of one merge, unless JSON is wanted; returns it in JSON values."""
    where = (
        f"{quote(place.name)} in library {quote(options.library)}"
        if place.folder is None
        else quote(place.folder)
    )
    for line in describe_merge(expert, where, seconds) if not options.json else ():
        print_line(line)
    if place.folder is None and not options.json:
        print_line(
            "its role is general: routers fall back on it, and experts can be trained on top of it"
            if options.as_general
            else "its role is merge: it is used by name, and by routers with --include merge"
        )
    return {**summarize_merge(expert, seconds), "out": place.folder or place.name}
