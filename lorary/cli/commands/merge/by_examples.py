"""Check the options of the merging methods that need examples."""

from jsonargparse import Namespace

from lorary.transforms import MergeRecipe

LORAHUB = "lorahub"
REGMEAN = "regmean"


def check_options(options: Namespace) -> None:
    """Refuse contradicting options of ``--method lorahub``, before anything is read.

    Raises:
        ValueError: if tasks are missing, or weights, a recipe or pico are given.
    """
    if options.method != LORAHUB:
        return
    if options.tasks is None:
        raise ValueError("--method lorahub needs --tasks, a file with a few examples of the new task")
    beside = [f"--{name}" for name in ("weights", "recipe") if getattr(options, name) is not None]
    if beside:
        raise ValueError(f"--method lorahub computes the weights itself: leave out {', '.join(beside)}")
    if options.pico is not None:
        raise ValueError(
            "--method lorahub searches weights of unchanged experts: leave out --pico, or give "
            "the weights that it finds to --method linear --pico"
        )


def check_recipe(options: Namespace, recipe: MergeRecipe) -> None:
    """Refuse a recipe without the tasks that it needs, and tasks that it does not use.

    Raises:
        ValueError: if ``--tasks`` is missing or not used.
    """
    needs = recipe.merge_method == REGMEAN
    if needs and options.tasks is None:
        raise ValueError("--method regmean needs --tasks, training examples of every expert's own task")
    if options.tasks is not None and not needs:
        raise ValueError("only --method lorahub and regmean use the examples of --tasks: leave out --tasks")
