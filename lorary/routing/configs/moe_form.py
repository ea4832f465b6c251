"""The form of a trained mixture-of-experts router: its experts, and what it computes from its parameters.

E routed experts, S shared ones, G groups, I layer input, Q query, M and N keys of the two halves.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from lorary.files import parse_json_object, quote, say_count
from lorary.routing.configs.checks import INPUT_NORMS, InputNorm

MoeKind = Literal["linear", "product_keys"]
Weighting = Literal["kept", "all"]
KINDS: Sequence[str] = get_args(MoeKind)
WEIGHTINGS: Sequence[str] = get_args(Weighting)
MOST_EXPERTS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class MoeForm:
    """The form of a router; the parameters of a layer have the shapes of ``outline``.

    Raises:
        ValueError: if a value is not one that training writes; the message has all faults.
    """

    experts: tuple[str, ...]
    """The routed experts, in the order of the parameters' rows."""
    shared: tuple[str, ...] = ()
    """Experts that every token uses in addition."""
    kind: MoeKind = "linear"
    """``"linear"``: a row for each expert. ``"product_keys"``: an expert is a cell of a grid, and its score
    is the sum of its row's and its column's."""
    top_k: int = 2
    """Experts that a token keeps; with groups, of each kept group."""
    groups: tuple[int, ...] | None = None
    """The group of each routed expert, numbers from 0; None without groups."""
    top_groups: int = 1
    """Groups that a token keeps."""
    weighting: Weighting = "kept"
    """Softmax of the kept scores, or of all scores, where the kept weights sum to less than 1."""
    input_norm: InputNorm = "unit"
    """The norm by which inputs are divided."""
    shared_gate: bool = False
    """Whether shared experts have a trained gate instead of weight 1."""
    query_size: int = 0
    """Q of product keys, both halves together."""
    num_columns: int = 0
    """N of product keys."""
    cells: tuple[int, ...] = ()
    """With product keys, the cell of each routed expert in the grid, row by row."""
    num_cells: int = 0
    """Number of experts in training, which filled the first cells of the grid."""

    def __post_init__(self) -> None:
        faults = list(_find_faults(self))
        if faults:
            raise ValueError("the form of a router: " + "; ".join(faults))

    @property
    def num_groups(self) -> int:
        """G; 0 without groups."""
        return 0 if self.groups is None else max(self.groups, default=-1) + 1

    @property
    def num_kept(self) -> int:
        """Routed experts that a token uses."""
        return self.top_k * (1 if self.groups is None else self.top_groups)

    @property
    def num_rows(self) -> int:
        """M of product keys."""
        return -(-self.num_cells // self.num_columns)

    def outline(self, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a layer's parameters, in the order in which they are joined.

        Args:
            width: I.
        """
        shapes: dict[str, tuple[int, ...]]
        if self.kind == "product_keys":
            half = self.query_size // 2
            shapes = {
                "query": (self.query_size, width),
                "first": (self.num_rows, half),
                "second": (self.num_columns, half),
            }
        else:
            shapes = {"rows": (len(self.experts), width)}
        if self.groups is not None:
            shapes["groups"] = (self.num_groups, width)
        if self.shared_gate:
            shapes["shared"] = (len(self.shared), width)
        return shapes

    def count(self, width: int) -> int:
        """Return the number of a layer's parameters."""
        return sum(math.prod(shape) for shape in self.outline(width).values())

    def find_width(self, num_parameters: int) -> int:
        """Return the I of a layer with this number of parameters.

        Raises:
            ValueError: if no I gives this number.
        """
        fixed = self.count(0)
        width, rest = divmod(num_parameters - fixed, self.count(1) - fixed)
        if width < 1 or rest:
            raise ValueError(
                f"no layer has a router of this form with {say_count(num_parameters, 'parameter')}"
            )
        return width

    def keep(self, top_k: int | None) -> "MoeForm":
        """Return the form with another number of kept experts; None for the same.

        Raises:
            ValueError: if there are fewer experts, in all or in a group.
        """
        return self if top_k is None else replace(self, top_k=top_k)

    def dump(self) -> bytes:
        """Write the form as a JSON object."""
        return json.dumps(asdict(self)).encode()


def read_form(content: bytes) -> MoeForm:
    """Read a form that ``dump`` has written.

    Raises:
        ValueError: if it is another object; the message has all faults.
        FormatError: if it is no JSON object.
    """
    found = parse_json_object(content, "the form of a router")
    known = {entry.name for entry in fields(MoeForm)}
    if found.keys() != known:
        raise ValueError(f"the form of a router must have {sorted(known)}, found {quote(sorted(found), 200)}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }
    return MoeForm(**values)


def choose_grid(num_experts: int) -> tuple[int, int]:
    """Return M and N of a nearly square grid; its last row may have free cells, which no token chooses."""
    num_rows = math.isqrt(max(num_experts - 1, 0)) + 1
    return num_rows, -(-num_experts // num_rows)


def _find_faults(form: MoeForm) -> list[str]:
    faults = _find_type_faults(form)
    if faults:
        return faults
    names = [*form.experts, *form.shared]
    if not form.experts or len(set(names)) < len(names) or len(names) > MOST_EXPERTS:
        faults.append(f"it must have experts, each once, found {quote(names, 200)}")
    for name, known in (("kind", KINDS), ("weighting", WEIGHTINGS), ("input_norm", INPUT_NORMS)):
        if getattr(form, name) not in known:
            faults.append(f"{name} must be one of {', '.join(known)}, found {quote(getattr(form, name), 60)}")
    faults += _find_group_faults(form)
    faults += _find_grid_faults(form) if form.kind == "product_keys" else []
    if form.shared_gate and not form.shared:
        faults.append("shared_gate needs shared experts, found none")
    return faults


def _find_type_faults(form: MoeForm) -> list[str]:
    def is_whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**40

    kinds: Mapping[str, Any] = {
        **dict.fromkeys(("experts", "shared"), lambda value: _are(value, lambda one: isinstance(one, str))),
        **dict.fromkeys(("top_k", "top_groups", "query_size", "num_columns", "num_cells"), is_whole),
        "groups": lambda value: value is None or _are(value, is_whole),
        "cells": lambda value: _are(value, is_whole),
        "shared_gate": lambda value: isinstance(value, bool),
    }
    return [
        f"{name} has a value of another type, {quote(getattr(form, name), 60)}"
        for name, fits in kinds.items()
        if not fits(getattr(form, name))
    ]


def _are(value: Any, fits: Any) -> bool:
    return isinstance(value, tuple) and all(map(fits, value))


def _find_group_faults(form: MoeForm) -> list[str]:
    if form.groups is None:
        return [] if 1 <= form.top_k <= len(form.experts) else [_say_top_k(form.top_k, len(form.experts))]
    sizes = list(Counter(form.groups).values())
    if len(form.groups) != len(form.experts) or set(form.groups) != set(range(len(sizes))):
        return [f"groups must have a number for each expert, found {quote(form.groups, 100)}"]
    faults = []
    if form.kind != "linear":
        faults.append("groups need kind linear: product keys have no rows of experts to group")
    if not 1 <= form.top_groups <= len(sizes):
        faults.append(
            f"top_groups must be between 1 and the number of groups, {len(sizes)}, found {form.top_groups}"
        )
    if not 1 <= form.top_k <= min(sizes):
        faults.append(_say_top_k(form.top_k, min(sizes), "in the smallest group"))
    return faults


def _say_top_k(top_k: int, most: int, where: str = "") -> str:
    of = f"the number of routed experts{' ' * bool(where)}{where}"
    return f"top_k must be between 1 and {of}, {most}, found {quote(top_k)}: choose another or add experts"


def _find_grid_faults(form: MoeForm) -> list[str]:
    if form.query_size < 2 or form.query_size % 2:
        return [f"query_size must be even and at least 2, found {form.query_size}"]
    cells = form.cells
    if not 1 <= form.num_columns <= form.num_cells <= MOST_EXPERTS:
        return [
            f"a grid of {say_count(form.num_cells, 'cell')} cannot have "
            f"{say_count(form.num_columns, 'column')}"
        ]
    if len(cells) != len(form.experts) or len(set(cells)) < len(cells) or max(cells) >= form.num_cells:
        return [f"each expert must have its own cell of {form.num_cells}, found {quote(cells, 100)}"]
    return []
