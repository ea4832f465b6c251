"""Make a recipe from the options of ``lorary merge``."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

from jsonargparse import Namespace

from lorary.cli.filled_library import choose_routed
from lorary.errors import LibraryError
from lorary.files import quote
from lorary.files.yaml_text import parse_yaml
from lorary.library import Library
from lorary.transforms import MergeRecipe, make_recipe
from lorary.transforms.merging import read_recipes
from lorary.transforms.merging.chosen import keep_mergeable

# Options that a recipe file sets itself, so they are refused beside --recipe.
SAID_BY_RECIPE = (
    "method",
    "experts",
    "include",
    "weights",
    "options",
    "rank",
    "space",
    "pico",
    "layers",
    "dtype",
    "base",
)


def make_recipes(options: Namespace, library: Library) -> Sequence[MergeRecipe]:
    """Read the recipes of ``--recipe``, or make one recipe from the other options.

    Raises:
        ValueError: if there is no such file, a recipe is invalid, or options are given that a recipe sets.
        LibraryError: if the library has no expert for the base model of ``--base``.
    """
    if options.recipe is not None:
        beside = [f"--{name}" for name in SAID_BY_RECIPE if getattr(options, name) is not None]
        if beside:
            raise ValueError(f"the file of --recipe sets these options itself: leave out {', '.join(beside)}")
        try:
            return read_recipes(options.recipe)
        except FileNotFoundError as error:
            raise ValueError(f"recipe file {quote(options.recipe)} does not exist: check --recipe") from error
    recipe = make_recipe(
        choose_names(options, library),
        options.method or "ties",
        weights=read_weights(options.weights),
        rank=options.rank,
        space=options.space,
        pico=options.pico,
        layers=options.layers or "same",
        dtype=options.dtype,
        options=read_pairs(options.options, "--options"),
    )
    return [recipe]


def make_linear(
    options: Namespace, names: Sequence[str], weights: Mapping[str, float] | None = None
) -> MergeRecipe:
    """Make the recipe of a linear merge from the options."""
    return make_recipe(
        names,
        "linear",
        weights=weights,
        rank=options.rank,
        space=options.space,
        layers=options.layers or "same",
        dtype=options.dtype,
    )


def choose_names(options: Namespace, library: Library) -> list[str]:
    """List the experts to merge: those of ``--experts``, else all, or all for the base model of ``--base``.

    Raises:
        LibraryError: if no expert is for the base model.
    """
    if options.experts is not None:
        if options.include:
            raise ValueError("--experts names the experts to merge: leave out --include")
        words = [options.experts] if isinstance(options.experts, str) else options.experts
        return [name for word in words for name in split_names(str(word), library)]
    routed = choose_routed(options, library)
    names = [entry.name for entry in routed.entries(base=options.base)]
    if not names:
        raise LibraryError(
            f"library {quote(library.url)} has no expert for base model {quote(options.base)}: see "
            f"`lorary library ls {library.url}`"
        )
    return keep_mergeable(routed, names)


def split_names(word: str, library: Library) -> list[str]:
    """Split ``a,b,c``, unless an expert has this name."""
    if word in library:
        return [word]
    return [name.strip() for name in word.split(",") if name.strip()]


def read_weights(given: Any) -> Sequence[float] | Mapping[str, float] | None:
    """Parse weights: numbers in the experts' order, or ``NAME=NUMBER``, separated by commas or spaces.

    Raises:
        ValueError: if one is not a number, or only some have a name.
    """
    if given is None or isinstance(given, Mapping):
        return given if given is None else _check_names(given, "--weights")
    words = [part for word in _as_list(given) for part in str(word).split(",") if part.strip()]
    if any("=" in word for word in words):
        return {name: _read_number(text) for name, text in map(_split_pair, words)}
    return [_read_number(word) for word in words]


def read_pairs(given: Any, option: str) -> Mapping[str, Any]:
    """Parse words such as ``density=0.3``, whose values are YAML.

    Raises:
        ValueError: if a word is not of this form.
    """
    if given is None or isinstance(given, Mapping):
        return _check_names(given or {}, option)
    words = [str(word) for word in _as_list(given)]
    odd = [quote(word, 60) for word in words if "=" not in word][:5]
    if odd:
        raise ValueError(f"{option} takes NAME=VALUE, such as density=0.3, found {', '.join(odd)}")
    try:
        return {name: parse_yaml(text) for name, text in map(_split_pair, words)}
    except ValueError as error:
        raise ValueError(f"a value of {option} must be valid YAML: {error}") from error


def _check_names(given: Mapping[Any, Any], option: str) -> Mapping[str, Any]:
    odd = [name for name in given if not isinstance(name, str)]
    if odd:
        raise ValueError(f"{option} must map names to values, found {quote(odd[0], 60)} as a name")
    return given


def _as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _split_pair(word: str) -> tuple[str, str]:
    name, _, text = word.partition("=")
    return name.strip(), text.strip()


def _read_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise ValueError(f"a weight must be a finite number, found {quote(text)}")
    return number
