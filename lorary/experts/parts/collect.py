"""Finding the parts of an adapter among the tensors of its file."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.parts.contract import Claim, Part, Source
from lorary.experts.parts.table import KINDS
from lorary.experts.peft_config import CONFIG_FILE, AdapterConfig
from lorary.experts.peft_keys import unwrap_name
from lorary.files import quote, say_count

# Nearly all names of an adapter end so; no part has such tensors.
_FACTOR_ENDS = (".lora_A.weight", ".lora_B.weight")

PartNames = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Module path -> kind -> field -> name of the tensor in the file."""


class Collected(NamedTuple):
    """The names of an adapter's tensors."""

    parts: PartNames
    """Those of parts."""
    rest: list[str]
    """All others."""


def collect_parts(names: Iterable[str], path: str) -> Collected:
    """Divide the names of a file's tensors among parts and others.

    Args:
        names: all names.
        path: path of the file, for messages.

    Raises:
        FormatError: if a part has a tensor twice.
    """
    parts: dict[str, dict[str, dict[str, str]]] = {}
    rest = []
    for name in names:
        claimed = _claim(name)
        if claimed is None:
            rest.append(name)
            continue
        kind, (module, field) = claimed
        fields = parts.setdefault(module, {}).setdefault(kind, {})
        if field in fields:
            raise FormatError(
                f"{quote(path)} must have each tensor of a module once, found {quote(fields[field], 100)} "
                f"and {quote(name, 100)}: save the adapter again"
            )
        fields[field] = name
    return Collected(parts, rest)


def list_claimed(names: Iterable[str]) -> list[str]:
    """List the kinds of the parts that a file has, by the names of its tensors."""
    found = {claimed[0] for name in names if (claimed := _claim(name)) is not None}
    return [kind for kind in KINDS if kind in found]


def _claim(name: str) -> tuple[str, Claim] | None:
    """Return the kind of part that a tensor belongs to, and its place there."""
    if name.endswith(_FACTOR_ENDS):
        return None
    plain = unwrap_name(name)
    claims = ((kind, part.claim(plain)) for kind, part in KINDS.items())
    return next(((kind, claim) for kind, claim in claims if claim is not None), None)


def build_parts(
    names: PartNames,
    tensors: Mapping[str, Tensor],
    config: AdapterConfig,
    scales: Mapping[str, float],
    path: str,
) -> dict[str, tuple[Part, ...]]:
    """Build all parts of an adapter.

    Args:
        names: names of the parts' tensors.
        tensors: name -> tensor; on the meta device to check shapes only.
        config: configuration of the adapter.
        scales: module path -> PEFT's scale of LoRA.
        path: path of the weights file, for messages.

    Returns:
        Module path -> its parts, in the order of ``KINDS``.

    Raises:
        FormatError: if a part's tensors do not make a part.
    """
    built, faults = {}, []
    for module, kinds in names.items():
        source = Source(module, config, scales.get(module, 1.0))
        found = []
        for kind in (kind for kind in KINDS if kind in kinds):
            own = {field: tensors[name] for field, name in kinds[kind].items()}
            try:
                found.append(KINDS[kind].build(own, source))
            except ValueError as error:
                faults.append(f"module {quote(module)}, {KINDS[kind].title}: {error}")
        built[module] = tuple(found)
    if faults:
        more = f" (and {say_count(len(faults) - 1, 'more such module')})" if len(faults) > 1 else ""
        raise FormatError(f"{quote(path)}, {faults[0]}{more}: save the adapter again, with its {CONFIG_FILE}")
    return built
