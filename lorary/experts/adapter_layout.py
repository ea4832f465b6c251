"""Where a PEFT adapter's factors lie in its file, and their scales: found once for all that are alike.

R rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from lorary.errors import FormatError
from lorary.experts.copied_weights import find_copied
from lorary.experts.factors import Factors, find_factor_fault
from lorary.experts.file_layout import FileLayout
from lorary.experts.peft_config import CONFIG_FILE, AdapterConfig, compute_scales
from lorary.experts.peft_keys import pair_tensors, unwrap_name
from lorary.files import quote, say_count
from lorary.files.patterns import PatternError


@dataclass(frozen=True, eq=False)
class AdapterLayout:
    """What is known of an adapter's factors without their numbers; one object for all that are alike."""

    names: Mapping[str, tuple[str, str]]
    """Module path -> names of the tensors that are ``a`` and ``b``."""
    outlines: Mapping[str, Factors]
    """Module path -> factors without numbers, of the shapes and dtypes in the file."""
    scales: Mapping[str, float]
    """Module path -> what PEFT multiplies ``b @ a`` with."""
    repaired: str = ""
    """A tensor name out of which a wrapper's name was left; empty if there was none."""


@dataclass(frozen=True)
class Recipe:
    """What an adapter's layout follows from."""

    file: FileLayout
    """Of its weights file."""
    config: AdapterConfig
    """What its configuration says."""
    path: str = field(compare=False)
    """One such weights file, for messages."""


@lru_cache(maxsize=64)
def lay_out_adapter(recipe: Recipe) -> AdapterLayout:
    """Pair an adapter's tensors and check them against its configuration.

    Raises:
        FormatError: if the file holds no pairs of factors, or other ones than the configuration says.
    """
    tensors, config, path = recipe.file.outlines, recipe.config, recipe.path
    names = pair_tensors([name for name in tensors if find_copied(name) is None], path)
    outlines = {module: Factors(tensors[a], tensors[b]) for module, (a, b) in names.items()}
    try:
        said = compute_scales(config, names)
    except PatternError as error:
        raise FormatError(f"{quote(path)} cannot be understood with its {CONFIG_FILE}: {error}") from error
    faults = [
        fault for module, pair in outlines.items() if (fault := _find_fault(module, pair, said[module].rank))
    ]
    if faults:
        more = f" (and {say_count(len(faults) - 1, 'more such module')})" if len(faults) > 1 else ""
        raise FormatError(
            f"{quote(path)}, {faults[0]}{more}: save the adapter again, with the configuration it was "
            "trained with"
        )
    scales = {module: own.scale for module, own in said.items()}
    repaired = next((name for pair in names.values() for name in pair if unwrap_name(name) != name), "")
    return AdapterLayout(names, outlines, scales, repaired)


@lru_cache(maxsize=64)
def rename_layout(layout: AdapterLayout, renames: tuple[tuple[str, str], ...]) -> AdapterLayout:
    """Give a layout whose modules have other paths; one object for all that are alike.

    Args:
        layout: the adapters'.
        renames: each module's path and its new one.
    """
    return replace(
        layout,
        names={new: layout.names[old] for old, new in renames},
        outlines={new: layout.outlines[old] for old, new in renames},
        scales={new: layout.scales[old] for old, new in renames},
    )


def _find_fault(module: str, pair: Factors, rank: int) -> str | None:
    fault = find_factor_fault(module, pair)
    if fault is None and pair.rank != rank:
        return f"module {quote(module)}: {CONFIG_FILE} says rank {rank}, found rank {pair.rank}"
    return fault
