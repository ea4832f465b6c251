"""The configuration of the training of a mixture-of-experts router."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lorary.files import quote
from lorary.routing.configs.checks import INPUT_NORMS, InputNorm
from lorary.routing.configs.moe_form import KINDS, WEIGHTINGS, MoeForm, MoeKind, Weighting, choose_grid
from lorary.training.config import TrainConfig, find_dropout_fault
from lorary.training.field_checks import (
    count,
    find_field_faults,
    not_negative,
    optional,
    positive,
    share,
    switch,
)

Noise = Literal["none", "jitter", "gaussian"]
WarmStart = Literal["none", "prototypes", "means"]
NOISES: Sequence[str] = get_args(Noise)
WARM_STARTS: Sequence[str] = get_args(WarmStart)
_CHECKS = {
    **dict.fromkeys(("top_k", "query_size"), count),
    **dict.fromkeys(("num_groups", "top_groups"), optional(count)),
    **dict.fromkeys(("balance", "z_loss"), not_negative),
    **dict.fromkeys(("start_scale", "router_learning_rate"), positive),
    "jitter": share,
    **dict.fromkeys(("shared_gate", "train_experts", "balanced"), switch),
}
_CHOICES = {
    "kind": KINDS,
    "weighting": WEIGHTINGS,
    "input_norm": INPUT_NORMS,
    "noise": NOISES,
    "warm_start": WARM_STARTS,
}


@dataclass(frozen=True, kw_only=True)
class MoeConfig:
    """The configuration of a router of experts that is trained on examples of several tasks."""

    train: TrainConfig
    """Settings of the run, and of the experts if they are trained; ``rank``, ``alpha``, ``target_modules``
    and ``num_slots`` have no effect, because the experts exist."""
    kind: MoeKind = "linear"
    """'linear': a row of numbers for each expert; 'product_keys': for many experts, see docs/moe.md."""
    top_k: int = 2
    """Experts that each token keeps at each layer; with groups, of each kept group."""
    weighting: Weighting = "kept"
    """Weights: softmax of the 'kept' scores, or of 'all' scores, where the kept ones sum to less than 1."""
    input_norm: InputNorm = "unit"
    """What each input is divided by before it is scored: nothing, its norm, or its root mean square."""
    num_groups: int | None = None
    """Choose groups first: this number of groups of equal size, each of neighbours in the order of the
    experts."""
    groups: dict[str, list[str]] | None = None
    """Choose groups first: group to its experts, each expert in one group, shared ones in none."""
    top_groups: int | None = None
    """Groups that each token keeps; if not given: 2, or all if there are fewer."""
    shared: list[str] | None = None
    """Experts that every token uses besides the routed ones."""
    shared_gate: bool = False
    """Train a gate of each shared expert, a weight from 0 to 1; otherwise its weight is 1."""
    query_size: int = 64
    """Numbers of the query of product keys, both halves together."""
    noise: Noise = "none"
    """Noise in training: 'jitter' of inputs, as in Switch Transformers; 'gaussian' of scores, by trained
    amounts, as in noisy top-k gating."""
    jitter: float = 0.01
    """Inputs are multiplied by numbers from 1 - jitter to 1 + jitter."""
    balance: float = 0.01
    """Coefficient of the load-balance loss, a mean over layers."""
    z_loss: float = 0.001
    """Coefficient of the z-loss, which keeps scores small; a mean over layers."""
    warm_start: WarmStart = "none"
    """First rows: random ones, 'means' of the experts' inputs, or Arrow's 'prototypes' times their gains."""
    start_scale: float = 1.0
    """Root mean square of the scores of a warm start, less each token's mean."""
    router_learning_rate: float = 1e-2
    """Peak learning rate of the router, which has no weight decay; training.learning_rate is the experts'."""
    train_experts: bool = False
    """Train the experts too; the results are new experts, and the given ones are not changed."""
    balanced: bool = True
    """Repeat the examples of smaller tasks, so that all tasks are equally frequent in training."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _CHECKS), *self._find_faults(), *find_dropout_fault(self.train)]
        if faults:
            raise ValueError("configuration of a mixture of experts: " + "; ".join(faults))

    def _find_faults(self) -> Iterator[str]:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                yield f"{name} must be one of {', '.join(known)}, found {quote(value, 60)}"
        if self.num_groups is not None and self.groups is not None:
            yield "num_groups and groups both set the groups: give only one of them"
        if self.shared_gate and not self.shared:
            yield "shared_gate needs shared experts, found none"
        has_groups = self.num_groups is not None or self.groups is not None
        if self.top_groups is not None and not has_groups:
            yield f"top_groups needs num_groups or groups, found {quote(self.top_groups, 60)} without them"
        if has_groups and self.kind == "product_keys":
            yield "groups need kind linear: product keys have no rows of experts to group"
        if self.kind == "product_keys" and type(self.query_size) is int and self.query_size % 2:
            yield f"query_size must be even, half for rows and half for columns, found {self.query_size}"
        if self.weighting == "kept" and (
            1 in (self.top_k, self.top_groups) if has_groups else self.top_k == 1
        ):
            which = "top_k and top_groups above 1" if has_groups else "top_k above 1"
            yield (
                f"weighting 'kept' needs {which}, since the softmax of one kept score is always 1 and "
                "trains nothing: use weighting 'all'"
            )

    def make_form(self, names: Sequence[str]) -> MoeForm:
        """Make the form of a router of these experts.

        Raises:
            ValueError: if the settings do not suit them; the message has all faults.
        """
        faults = list(self._find_name_faults(names))
        shared = tuple(self.shared or ())
        routed = tuple(name for name in names if name not in shared)
        if self.top_k > len(routed) and not faults and self.groups is None and self.num_groups is None:
            faults.append(
                f"top_k must be at most the number of routed experts, {len(routed)}, found {self.top_k}"
            )
        if faults:
            raise ValueError("configuration of a mixture of experts: " + "; ".join(faults))
        groups, grid = self._number_groups(routed), {}
        if self.kind == "product_keys":
            grid = {
                "query_size": self.query_size,
                "num_columns": choose_grid(len(routed))[1],
                "num_cells": len(routed),
            }
        return MoeForm(
            experts=routed,
            shared=shared,
            kind=self.kind,
            top_k=self.top_k,
            groups=groups,
            top_groups=1 if groups is None else self.top_groups or min(2, max(groups) + 1),
            weighting=self.weighting,
            input_norm=self.input_norm,
            shared_gate=self.shared_gate,
            cells=tuple(range(len(routed))) if grid else (),
            **grid,
        )

    def _find_name_faults(self, names: Sequence[str]) -> Iterator[str]:
        shared = self.shared or []
        unknown = [name for name in shared if name not in names]
        if unknown or len(set(shared)) < len(shared):
            yield (
                f"shared must name experts of {quote(list(names), 200)}, each once, found "
                f"{quote(shared, 200)}"
            )
        routed = [name for name in names if name not in shared]
        if not routed:
            yield "there must be an expert to route to besides the shared ones, found none"
        if self.groups is not None:
            grouped = [name for own in self.groups.values() for name in own]
            if sorted(grouped) != sorted(routed) or not all(self.groups.values()):
                yield (
                    f"groups must have each of the experts {quote(routed, 200)} once, and no empty group, "
                    f"found {quote(self.groups, 200)}"
                )
            else:
                yield from self._find_size_faults([len(own) for own in self.groups.values()])
        if self.num_groups is not None:
            if self.num_groups > len(routed) or len(routed) % self.num_groups:
                yield (
                    f"num_groups must divide the number of routed experts, {len(routed)}, found "
                    f"{self.num_groups}: choose another, or name the experts of each group in groups"
                )
            else:
                yield from self._find_size_faults([len(routed) // self.num_groups] * self.num_groups)

    def _find_size_faults(self, sizes: Sequence[int]) -> Iterator[str]:
        if self.top_groups is not None and self.top_groups > len(sizes):
            yield f"top_groups must be at most the number of groups, {len(sizes)}, found {self.top_groups}"
        if self.top_k > min(sizes):
            yield f"top_k must be at most the size of the smallest group, {min(sizes)}, found {self.top_k}"

    def _number_groups(self, routed: Sequence[str]) -> tuple[int, ...] | None:
        if self.groups is not None:
            number = {name: place for place, own in enumerate(self.groups.values()) for name in own}
            return tuple(number[name] for name in routed)
        if self.num_groups is not None:
            size = len(routed) // self.num_groups
            return tuple(place // size for place in range(len(routed)))
        return None
