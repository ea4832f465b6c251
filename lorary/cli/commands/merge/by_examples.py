"""The methods of ``lorary merge`` that look at examples: which options go with them."""

from jsonargparse import Namespace

from lorary.transforms import MergeRecipe

LORAHUB = "lorahub"
REGMEAN = "regmean"


def check_options(options: Namespace) -> None:
    """Refuse options that do not go together in a search, before anything is read.

    Raises:
        ValueError: if tasks are missing, or weights stand beside them.
    """
    if options.method != LORAHUB:
        return
    if options.tasks is None:
        raise ValueError("--method lorahub needs --tasks: a file with a few examples of the new task")
    beside = [f"--{name}" for name in ("weights", "recipe") if getattr(options, name) is not None]
    if beside:
        raise ValueError(f"--method lorahub finds the weights itself: leave out {', '.join(beside)}")


def check_recipe(options: Namespace, recipe: MergeRecipe) -> None:
    """Refuse tasks for a recipe that looks at none, and the other way round, before anything is read.

    Raises:
        ValueError: if ``--tasks`` is missing or for nothing.
    """
    needs = recipe.merge_method == REGMEAN
    if needs and options.tasks is None:
        raise ValueError("--method regmean needs --tasks: training examples of every expert's own task")
    if options.tasks is not None and not needs:
        raise ValueError(
            "--tasks gives --method lorahub and regmean their examples; no other method looks at any"
        )
