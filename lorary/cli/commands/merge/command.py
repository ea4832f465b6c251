"""Merge experts of a library into one.

The merged expert goes into the library by a name, or into a folder of its own, as a plain PEFT adapter. Its
card says which experts it was made of, how to repeat the merge, and what cutting it to its rank lost.
--method lorahub finds the weights of a linear merge from the first 16 training examples of a new task;
--method regmean looks at what each expert's layers are given by training examples of the expert's own task.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace
from rich import progress

from lorary.cli.commands.merge.lorahub import (
    LORAHUB,
    check_options,
    describe_search,
    find_weights,
    note_search,
    outline_recipe,
)
from lorary.cli.commands.merge.place import MergePlace, find_place, find_places, require_free, store_expert
from lorary.cli.commands.merge.recipe import find_recipes, repeat_options
from lorary.cli.commands.merge.regmean import REGMEAN, check_recipe, collect_activations
from lorary.cli.commands.merge.report import (
    describe_merge,
    describe_plan,
    summarize_merge,
    summarize_plan,
)
from lorary.cli.model_options import open_filled_library
from lorary.cli.printing import (
    open_bar,
    print_facts,
    print_json,
    print_line,
    print_next,
    say_count,
    show_status,
)
from lorary.cli.task_options import KeepPlaces, add_task_options
from lorary.files import quote

if TYPE_CHECKING:
    from torch import Tensor

    from lorary.experts import Expert
    from lorary.library import Library
    from lorary.transforms import MergePlan, MergeRecipe

EXAMPLE = "lorary merge ./my-loras --method ties --experts poetry,prose --options density=0.3 --out writing"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, what to merge and how, and where to."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--out", type=str | None, help="Name in the library, or a folder such as ./merged")
    parser.add_argument(
        "--method",
        type=str | None,
        help="linear, cat, task_arithmetic, ties, dare, dare_ties, della, breadcrumbs, sce, slerp, nuslerp, "
        "karcher, model_stock, arcee_fusion, knots, core, tsv, iso, iso_cts, wudi, subtract, regmean or "
        "lorahub; ties if not given",
    )
    parser.add_argument(
        "--experts", action=KeepPlaces, nargs="+", metavar="NAME", help="Experts, in order; all if not given"
    )
    parser.add_argument(
        "--weights",
        action=KeepPlaces,
        nargs="+",
        metavar="NUMBER",
        help="One per expert, in order, or NAME=NUMBER; the method's own if not given",
    )
    parser.add_argument(
        "--options", action=KeepPlaces, nargs="+", metavar="NAME=VALUE", help="The method's own options"
    )
    parser.add_argument(
        "--rank",
        type=str | int | None,
        help="A number, a share of the energy such as 99%, kept (the experts' largest) or full",
    )
    parser.add_argument(
        "--space", type=Literal["delta", "core", "factors"] | None, help="What the method is applied to"
    )
    parser.add_argument(
        "--layers",
        type=Literal["same", "common", "all"] | None,
        help="Where experts change different layers: refuse, merge those all change, or count zeros",
    )
    parser.add_argument(
        "--dtype",
        type=Literal["float16", "bfloat16", "float32", "float64"] | None,
        help="Of the merged factors; that of the experts if not given",
    )
    parser.add_argument("--base", type=str | None, help="Without --experts: all for this base model")
    parser.add_argument(
        "--recipe", type=str | None, help="YAML file that says what to merge and how, such as mergekit's"
    )
    add_task_options(parser, required=False)
    parser.add_argument("--device", type=str | None, help="Where regmean and lorahub run the base model")
    parser.add_argument("--replace", action="store_true", help="Replace what is there by that name")
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be done")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Check everything and say what will be done; then merge, store and report."""
    check_options(options)
    library = open_filled_library(options.library)
    place = choose_place(options, library)
    if options.method == LORAHUB:
        return run_one(options, library, outline_recipe(options, library), place)
    recipes = find_recipes(options, library)
    for recipe in recipes:
        check_recipe(options, recipe)
    places = find_places(place, recipes)
    if not options.replace:
        for other in places:
            if other is not None:
                require_free(other, library)
    for recipe, own in zip(recipes, places, strict=True):
        run_one(options, library, recipe, own)
    return 0


def run_one(options: Namespace, library: "Library", recipe: "MergeRecipe", place: MergePlace | None) -> int:
    """Say what one merge will do; then merge, store and report."""
    is_search = options.method == LORAHUB
    plan = make_plan(library, recipe)
    if not (options.json and options.dry_run):
        print_plan(plan, recipe, options, place)
    if place is None or options.dry_run:
        if options.json:
            print_json(summarize_plan(plan))
        else:
            print_next("lorary", "merge", *repeat_options(options))
        return 0
    begun = time.monotonic()
    if is_search:
        recipe, found = find_weights(options, library, recipe)
        print_line(describe_search(found), stderr=options.json)
    looks = recipe.merge_method == REGMEAN
    activations = collect_activations(options, library, recipe) if looks else None
    expert = merge_experts(library, recipe, place.name, activations)
    store_expert(note_search(expert, found) if is_search else expert, place, library)
    report(options, expert, place, time.monotonic() - begun)
    return 0


def choose_place(options: Namespace, library: "Library") -> MergePlace | None:
    """Say where the merged expert goes; a dry run needs no place.

    Raises:
        ValueError: if it is not said, or not fit for an expert.
        LibraryError, FormatError: if something is there, and it is not to be replaced.
    """
    if options.out is None:
        if options.dry_run:
            return None
        raise ValueError("--out must say where the merged expert goes: a name in the library, or a folder")
    place = find_place(options.out)
    if not options.replace:
        require_free(place, library)
    return place


def make_plan(library: "Library", recipe: "MergeRecipe") -> "MergePlan":
    """Check that the experts can be merged, and estimate what it takes."""
    from lorary.transforms import plan_merge

    with show_status(f"looking at {say_count(len(recipe.names), 'expert')}"):
        return plan_merge(library, recipe)


def print_plan(
    plan: "MergePlan", recipe: "MergeRecipe", options: Namespace, place: MergePlace | None
) -> None:
    """Print what will be merged, where it goes, and what that takes."""
    out = [] if place is None else [("out", place.folder or place.name)]
    facts = [*describe_plan(plan, recipe), *out]
    print_facts(facts, stderr=options.json)


def merge_experts(
    library: "Library",
    recipe: "MergeRecipe",
    name: str,
    activations: "Mapping[str, Sequence[Tensor]] | None",
) -> "Expert":
    """Merge under a progress bar."""
    from lorary.transforms import merge_by_recipe

    try:
        with show_layers(f"merging {say_count(len(recipe.names), 'expert')}") as show:
            return merge_by_recipe(library, recipe, name=name, activations=activations, progress=show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written; the same command starts over") from None


@contextmanager
def show_layers(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of merged layers with the time left, on a terminal's stderr; yields what counts them."""
    columns = (
        progress.MofNCompleteColumn(),
        progress.TextColumn("layers"),
        progress.TimeRemainingColumn(compact=True),
    )
    with open_bar(*columns, is_transient=True) as bar:
        line = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def report(options: Namespace, expert: "Expert", place: MergePlace, seconds: float) -> None:
    """Print what came out, and what to do with it."""
    if options.json:
        print_json({**summarize_merge(expert, seconds), "out": place.folder or place.name})
        return
    where = (
        f"{quote(place.name)} in library {quote(options.library)}"
        if place.folder is None
        else quote(place.folder)
    )
    for line in describe_merge(expert, where, seconds):
        print_line(line)
    if place.folder is None:
        print_next("lorary", "generate", options.library, "PROMPT", "--expert", place.name)
    else:
        print_next("lorary", "library", "add", options.library, place.folder)
