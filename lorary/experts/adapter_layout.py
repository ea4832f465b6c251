"""The tensors and scales of an adapter's factors, computed once for all adapters of the same layout.

R rank, I layer input, O layer output.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import Factors, find_factor_fault
from lorary.experts.file_layout import FileLayout
from lorary.experts.parts.collect import PartNames, build_parts, collect_parts, list_claimed
from lorary.experts.parts.contract import Part
from lorary.experts.parts.pairing import find_unpaired
from lorary.experts.peft_config import CONFIG_FILE, AdapterConfig, compute_scales
from lorary.experts.peft_keys import pair_tensors, unwrap_name
from lorary.experts.stacked_parameters import (
    Cut,
    Entry,
    count_entries,
    cut_entry,
    find_stacked,
)
from lorary.files import quote, say_count
from lorary.files.patterns import PatternError

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class AdapterLayout:
    """Names, shapes and scales of an adapter's factors; one object for all adapters with equal ones."""

    names: Mapping[str, tuple[str, str]]
    """Module path -> names of the tensors ``a`` and ``b``."""
    outlines: Mapping[str, Factors]
    """Module path -> factors on the meta device, with the shapes and dtypes in the file."""
    scales: Mapping[str, float]
    """Module path -> PEFT's factor of ``b @ a``."""
    part_names: PartNames = field(default_factory=dict)
    """Module path -> names of the tensors of its parts."""
    part_outlines: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    """Module path -> its parts on the meta device, with the shapes and dtypes in the file."""
    part_scales: Mapping[str, float] = field(default_factory=dict)
    """Module path with parts -> PEFT's scale there."""
    repaired: str = ""
    """A tensor name from which a wrapper's name was removed; empty if there is none."""
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    """Module path of a sub-layer -> its part of the two tensors, which are those of a stacked parameter."""

    def take(self, tensors: Mapping[str, Tensor], path: str) -> Factors:
        """Return one module's factors without PEFT's scale.

        Args:
            tensors: tensor name -> tensor, all with the same leading dimensions, or none.
            path: the module.
        """
        a, b = (tensors[name] for name in self.names[path])
        return Factors(a, b) if path not in self.cuts else cut_entry(a, b, self.cuts[path])


@dataclass(frozen=True)
class Recipe:
    """The inputs of ``lay_out_adapter``, as a hashable key of its cache."""

    file: FileLayout
    """Layout of the weights file."""
    config: AdapterConfig
    """The adapter's configuration."""
    path: str = field(compare=False)
    """Path of one such weights file, for messages."""


@lru_cache(maxsize=64)
def find_kinds(file: FileLayout) -> frozenset[str]:
    """Return the kinds of the parts in a file, by the names of its tensors."""
    return frozenset(list_claimed(file.outlines))


@lru_cache(maxsize=64)
def lay_out_adapter(recipe: Recipe) -> AdapterLayout:
    """Pair an adapter's tensors and check them against its configuration.

    Raises:
        FormatError: if the file has neither factors nor parts, or their shapes differ from the configuration.
    """
    tensors, config, path = recipe.file.outlines, recipe.config, recipe.path
    part_names, rest = collect_parts(tensors, path)
    names = pair_tensors(rest, path, has_others=bool(part_names))
    if names and config.peft_type != "LORA":
        raise FormatError(
            f"{quote(path)} has low-rank factors, but its {CONFIG_FILE} has peft_type "
            f"{quote(config.peft_type)}, where PEFT ignores them: save the adapter again with PEFT"
        )
    if part_names and (fault := find_unpaired(names, part_names)) is not None:
        raise FormatError(f"{quote(path)} {fault}: save the adapter again with PEFT")
    try:
        said = compute_scales(config, [*names, *part_names])
        stacked = find_stacked(
            names,
            config.target_parameters,
            lambda stored: tensors[names[stored][0]].shape[:1] == (said[stored].rank,),
            path,
        )
        said |= compute_scales(config, [target.path for target in stacked])
    except PatternError as error:
        raise FormatError(f"{quote(path)} cannot be read with its {CONFIG_FILE}: {error}") from error
    plain = {stored: names[stored] for stored in names if stored not in {each.stored for each in stacked}}
    outlines = {module: Factors(tensors[a], tensors[b]) for module, (a, b) in plain.items()}
    faults = [
        fault for module, pair in outlines.items() if (fault := _find_fault(module, pair, said[module].rank))
    ]
    if faults:
        more = f" (and {say_count(len(faults) - 1, 'more such module')})" if len(faults) > 1 else ""
        raise FormatError(
            f"{quote(path)}, {faults[0]}{more}: save the adapter again with its training configuration"
        )
    scales = {module: said[module].scale for module in plain}
    used = chain(chain.from_iterable(names.values()), _list_names(part_names))
    repaired = next((name for name in used if unwrap_name(name) != name), "")
    part_scales = {module: said[module].scale for module in part_names}
    part_outlines = build_parts(part_names, tensors, config, part_scales, path)
    cuts: dict[str, Cut] = {}
    for target in stacked:
        pair = names[target.stored]
        a, b = (tensors[name] for name in pair)
        count = count_entries(a, b, said[target.path].rank, target, path)
        outline = cut_entry(a, b, Cut(0, count))
        for index in range(count):
            module = Entry(target.module, target.parameter, index).path
            plain[module], outlines[module] = pair, outline
            scales[module], cuts[module] = said[target.path].scale, Cut(index, count)
    return AdapterLayout(plain, outlines, scales, part_names, part_outlines, part_scales, repaired, cuts)


@lru_cache(maxsize=64)
def rename_layout(layout: AdapterLayout, renames: tuple[tuple[str, str], ...]) -> AdapterLayout:
    """Return a layout with other module paths; the same object for equal arguments.

    Args:
        layout: the layout.
        renames: pairs of each module's path and its new path.
    """

    def move(found: Mapping[str, Value]) -> dict[str, Value]:
        return {new: found[old] for old, new in renames if old in found}

    return replace(
        layout,
        names=move(layout.names),
        outlines=move(layout.outlines),
        scales=move(layout.scales),
        part_names=move(layout.part_names),
        part_outlines=move(layout.part_outlines),
        part_scales=move(layout.part_scales),
        cuts=move(layout.cuts),
    )


def _list_names(parts: PartNames) -> Iterator[str]:
    return (name for kinds in parts.values() for fields in kinds.values() for name in fields.values())


def _find_fault(module: str, pair: Factors, rank: int) -> str | None:
    fault = find_factor_fault(module, pair)
    if fault is None and pair.rank != rank:
        return f"module {quote(module)}: rank must be {rank} by {CONFIG_FILE}, found {pair.rank}"
    return fault
