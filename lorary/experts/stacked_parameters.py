"""LoRA of stacked parameters: one parameter with the weights of all N sub-layers of a mixture of experts.

PEFT's ``target_parameters`` names such parameters. An expert has factors for each sub-layer, under the path
``<module>.<parameter>[<index>]``, such as ``model.layers.0.mlp.experts.gate_up_proj[3]``. So a sub-layer is
one more linear layer: it is routed, merged and folded like any other. A 2-D weight is a stack of one.

N sub-layers, R rank of each, I input, O output, S number of PEFT's rows, ``N * R``.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.factors import Factors
from lorary.files import LIMITS, quote, say_count

INNER = ".base_layer"
"""PEFT's name of a module within the wrapper of another parameter of the same module."""
# PEFT nests the wrappers of several parameters of a module in the order in which the module registers them.
# The names of tensors do not say which is which; all classes of transformers register them in this order.
ORDER = ("gate_up_proj", "up_proj", "down_proj")
# Sub-layers and gates in models of earlier versions of transformers, which PEFT converts.
_OLD = re.compile(r"\.experts\.\d+\.(w[123]|gate_proj|up_proj|down_proj)$|\.(mlp|block_sparse_moe)\.gate$")
_WEIGHT = "weight"
_ENTRY = re.compile(r"(?P<module>.+)\.(?P<parameter>[^.\[\]]+)\[(?P<index>\d+)\]")


@dataclass(frozen=True)
class Entry:
    """One sub-layer of a stacked parameter."""

    module: str
    """Path of the module that has the parameter."""
    parameter: str
    """Name of the parameter."""
    index: int
    """Its place in the parameter's first dimension."""

    @property
    def path(self) -> str:
        """The path under which an expert has its factors."""
        return f"{self.module}.{self.name}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return f"{self.parameter}[{self.index}]"


@dataclass(frozen=True)
class Cut:
    """The part of PEFT's two tensors that is one sub-layer's."""

    index: int
    """The sub-layer."""
    count: int
    """N, the number of sub-layers."""


@dataclass(frozen=True)
class StackedTarget:
    """A stacked parameter in an adapter's file."""

    module: str
    """Path of the module that has the parameter."""
    parameter: str
    """Name of the parameter."""
    stored: str
    """The module's path in the names of the tensors."""

    @property
    def path(self) -> str:
        """The parameter's path, which PEFT's patterns of ranks are compared with."""
        return f"{self.module}.{self.parameter}"


def read_entry(path: str) -> Entry | None:
    """Parse the path of a sub-layer; None for the path of any other layer."""
    if not path.endswith("]"):
        return None
    match = _ENTRY.fullmatch(path)
    return match and Entry(match["module"], match["parameter"], int(match["index"]))


def is_sub_layer(path: str) -> bool:
    """Return whether a module path is that of a sub-layer of a stacked parameter."""
    return read_entry(path) is not None


def find_stacked(
    modules: Iterable[str],
    targets: Iterable[str],
    is_plain: Callable[[str], bool],
    path: str,
) -> list[StackedTarget]:
    """Find the stacked parameters among the modules of an adapter.

    Args:
        modules: paths of modules in the names of tensors.
        targets: the configuration's ``target_parameters``.
        is_plain: whether the factors of a path in ``modules`` have the rank of one layer.
        path: path of the file, for messages.

    Raises:
        FormatError: if ``target_parameters`` does not name as many parameters of a module as the file has.
        UnsupportedAdapter: if the order of a module's parameters is unknown.
    """
    targets = sorted(set(targets))
    if not targets:
        return []
    nested: dict[str, list[str]] = defaultdict(list)
    for stored in modules:
        nested[_strip(stored)].append(stored)
    found = []
    for module, layers in nested.items():
        names = _list_parameters(module, targets)
        if not names or (names != [_WEIGHT] and len(layers) == 1 and is_plain(layers[0])):
            continue
        if len(names) != len(layers):
            raise FormatError(
                f"{quote(path)} has factors for {say_count(len(layers), 'parameter')} of "
                f"{quote(module, 100)}, but target_parameters names "
                f"{', '.join(map(quote, names))}: save the adapter again"
            )
        if len(names) > 1 and not set(names) <= set(ORDER):
            raise UnsupportedAdapter(
                f"{quote(path)}: target_parameters must be {', '.join(ORDER)} if a module has several, found "
                f"{', '.join(map(quote, names))} of {quote(module, 100)}: PEFT's file does not say which "
                "tensors are whose; merge the adapter with PEFT, or train each in its own adapter"
            )
        # The last parameter's wrapper is the outermost, with the shortest name.
        names = sorted(names, key=_place, reverse=True)
        for name, stored in zip(names, sorted(layers, key=len), strict=True):
            found.append(StackedTarget(module, name, stored))
    return found


def count_entries(a: Tensor, b: Tensor, rank: int, target: StackedTarget, path: str) -> int:
    """Return N, from the shapes of PEFT's tensors ``a [S, I]`` and ``b [O, S]``.

    Raises:
        FormatError: if they are not a stack of this rank, or have too many sub-layers.
    """
    where = target.path
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or a.shape[0] % rank or not a.shape[0]:
        raise FormatError(
            f"{quote(path)}, parameter {quote(where)}: factors must be [N x {rank}, I] and [O, N x {rank}] "
            f"for N sub-layers of rank {rank}, found {list(a.shape)} and {list(b.shape)}: save the adapter "
            "again with its training configuration"
        )
    count = a.shape[0] // rank
    if count > LIMITS["tensor_count"].value:
        raise FormatError(
            f"{quote(path)}, parameter {quote(where)} has too many sub-layers: "
            f"{LIMITS['tensor_count'].advice}"
        )
    return count


def cut_entry(a: Tensor, b: Tensor, cut: Cut) -> Factors:
    """Take one sub-layer's factors out of PEFT's tensors, as views.

    Args:
        a: ``[..., S, I]``: the rows of the first sub-layer, then those of the next.
        b: ``[..., O, S]``: the first column of each sub-layer, then the second of each.
        cut: the sub-layer.

    Returns:
        Factors ``[..., R, I]`` and ``[..., O, R]``.
    """
    return Factors(
        a.unflatten(-2, (cut.count, -1))[..., cut.index, :, :],
        b.unflatten(-1, (-1, cut.count))[..., cut.index],
    )


def even_ranks(factors: Mapping[str, Factors]) -> Mapping[str, Factors]:
    """Pad the factors of mixtures of earlier versions with zeros to the largest rank of all factors.

    PEFT stacks them when it loads the adapter, which needs one rank.
    """
    rank = max((pair.rank for pair in factors.values()), default=0)
    lower = {path for path, pair in factors.items() if pair.rank < rank and _OLD.search(path)}
    return factors if not lower else {**factors, **{path: _pad(factors[path], rank) for path in lower}}


def _pad(pair: Factors, rank: int) -> Factors:
    a, b = pair.a.new_zeros(rank, pair.a.shape[1]), pair.b.new_zeros(pair.b.shape[0], rank)
    a[: pair.rank], b[:, : pair.rank] = pair
    return Factors(a, b)


def join_entries(entries: Mapping[int, Factors]) -> Factors:
    """Join the factors of all sub-layers to PEFT's tensors, the inverse of ``cut_entry``.

    Args:
        entries: index -> factors ``[R, I]`` and ``[O, R]``. Lower ranks, and indices below the highest that
            are missing, are padded with zeros.

    Returns:
        Factors ``[S, I]`` and ``[O, S]``, in a dtype that holds all of them.
    """
    pairs = list(entries.values())
    rank, count = max(pair.rank for pair in pairs), max(entries) + 1
    kinds = [torch.empty(0, dtype=tensor.dtype) for pair in pairs for tensor in pair]
    dtype = kinds[0].dtype
    for kind in kinds:
        dtype = torch.promote_types(dtype, kind.dtype)
    a = torch.zeros(count, rank, pairs[0].a.shape[1], dtype=dtype)
    b = torch.zeros(pairs[0].b.shape[0], rank, count, dtype=dtype)
    for index, pair in entries.items():
        a[index, : pair.rank] = pair.a
        b[:, : pair.rank, index] = pair.b
    return Factors(a.flatten(0, 1), b.flatten(1))


def list_parameter_ranks(ranks: Mapping[str, int]) -> dict[str, int]:
    """Return the largest rank of each stacked parameter's sub-layers, by the parameter's path.

    Args:
        ranks: module path -> rank; other layers than sub-layers are left out.
    """
    found: dict[str, int] = {}
    for path, rank in ranks.items():
        entry = read_entry(path)
        if entry is not None:
            parameter = f"{entry.module}.{entry.parameter}"
            found[parameter] = max(rank, found.get(parameter, 0))
    return found


def group_entries(factors: Mapping[str, Factors]) -> dict[str, dict[str, dict[int, Factors]]]:
    """Group the sub-layers of an expert: module -> parameter, outermost first -> index -> factors."""
    grouped: dict[str, dict[str, dict[int, Factors]]] = {}
    for path, pair in factors.items():
        entry = read_entry(path)
        if entry is not None:
            parameters = grouped.setdefault(entry.module, {})
            parameters.setdefault(entry.parameter, {})[entry.index] = pair
    return {
        module: {name: own[name] for name in sorted(own, key=_place, reverse=True)}
        for module, own in grouped.items()
    }


def _place(parameter: str) -> int:
    return ORDER.index(parameter) if parameter in ORDER else 0


def _strip(stored: str) -> str:
    while stored.endswith(INNER):
        stored = stored.removesuffix(INNER)
    return stored


def _list_parameters(module: str, targets: Iterable[str]) -> list[str]:
    """List the parameters of a module that targets mean, as PEFT does: by the whole path or its end."""
    found: dict[str, None] = {}
    for target in targets:
        name = target.rpartition(".")[2]
        if f".{module}.{name}".endswith(f".{target}"):
            found[name] = None
    return list(found)
