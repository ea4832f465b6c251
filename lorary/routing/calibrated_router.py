"""Calibrated routing: a request goes to the experts that it concerns more than generic text does.

Shape letters: T tokens, B requests, E experts, R rank, I layer input, K experts kept per request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from torch import Tensor

from lorary.routing.calibrated import average_layers, log_lengths, whitened_scores
from lorary.routing.request import RequestMaterial, RequestRouter
from lorary.routing.spectr import find_norm_roots
from lorary.routing.top_k import check_choice, check_top_k, find_choice_faults, keep_top_k

Score = Literal["whitened", "energy"]
SCORES: Sequence[str] = get_args(Score)


@dataclass(frozen=True, kw_only=True)
class CalibratedConfig:
    """How calibrated routing turns a request into a choice of experts, with no data of their tasks."""

    score: Score = "whitened"
    """whitened: how far the request lies along prototypes, in units of generic text; energy: how strongly
    experts answer it, against how strongly they answer generic text."""
    top_k: int = 1
    """How many experts each request keeps; with 1 it is answered by a single expert."""
    temperature: float = 1.0
    """Divides the scores: near 0 the best expert takes all, a large one makes the kept ones equal."""
    ridge: float = 0.1
    """For whitened: added to the inputs' covariance, as a share of its mean diagonal."""
    generic: Sequence[str] | None = None
    """Texts of no task in particular; null lets the base model write some."""
    abstain: float | None = None
    """The base model's score, which competes with the kept experts'; null gives it no share."""

    def __post_init__(self) -> None:
        faults = find_choice_faults(self.top_k, self.temperature, self.abstain)
        if self.score not in SCORES:
            faults.append(f"score must be one of {', '.join(SCORES)}, found {self.score!r}")
        if not (isfinite(self.ridge) and self.ridge > 0):
            faults.append(f"ridge must be above 0, found {self.ridge!r}")
        if isinstance(self.generic, str) or (self.generic is not None and not all(self.generic)):
            faults.append("generic must be a list of texts, none of them empty")
        elif self.generic is not None and not self.generic:
            faults.append(
                "generic must hold at least one text; leave it out to let the base model write some"
            )
        if faults:
            raise ValueError("; ".join(faults))
        # A list would make the frozen options change with it.
        object.__setattr__(self, "generic", None if self.generic is None else tuple(self.generic))

    @property
    def needs(self) -> frozenset[str]:
        """What of each layer's ``LayerMaterial`` the router is built from."""
        if self.score == "whitened":
            return frozenset({"directions", "offsets"})
        return frozenset({"a", "b", "log_lengths"})

    def check(self, names: Sequence[str]) -> None:
        """Refuse options that cannot work with these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        check_top_k(self.top_k, len(names))


class WhitenedRouter:
    """Chooses by how far requests lie along whitened prototypes; a ``RequestRouter``.

    Args:
        directions: module path -> ``[E, I]``, from `whiten_prototypes`.
        offsets: module path -> ``[E]``, likewise.
        top_k: K, how many experts each request keeps.
        temperature: divides the scores before the softmax.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range.
    """

    skips_first = True

    def __init__(
        self,
        directions: Mapping[str, Tensor],
        offsets: Mapping[str, Tensor],
        *,
        top_k: int = 1,
        temperature: float = 1.0,
        abstain: float | None = None,
    ):
        check_top_k(top_k, len(next(iter(offsets.values()))))
        check_choice(temperature, abstain)
        self.places = tuple(directions)
        self.directions, self.offsets = dict(directions), dict(offsets)
        self._has = {path: rows.any(-1) for path, rows in directions.items()}
        self.top_k, self.temperature, self.abstain = top_k, temperature, abstain

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Take tokens ``[T, I]`` as they are: averaging first, a layer costs one product per request."""
        return x

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose for requests with these mean inputs, ``[B, I]`` by path: ``[B, K]`` and ``[B, K]``."""
        scores = {
            path: whitened_scores(x, self.directions[path], self.offsets[path])
            for path, x in averages.items()
        }
        return keep_top_k(average_layers(scores, self._has), self.top_k, self.temperature, self.abstain)


class EnergyRouter:
    """Chooses by how strongly experts answer requests, against generic text; a ``RequestRouter``.

    Args:
        a: module path -> down-projections ``[E, R, I]``; not copied.
        b: module path -> up-projections ``[E, O, R]``.
        generic: module path -> mean of `log_lengths` over generic tokens, ``[E]``.
        top_k: K, how many experts each request keeps.
        temperature: divides the scores before the softmax.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range, or a weight is not finite.
    """

    skips_first = True

    def __init__(
        self,
        a: Mapping[str, Tensor],
        b: Mapping[str, Tensor],
        generic: Mapping[str, Tensor],
        *,
        top_k: int = 1,
        temperature: float = 1.0,
        abstain: float | None = None,
    ):
        check_top_k(top_k, len(next(iter(generic.values()))))
        check_choice(temperature, abstain)
        self.places = tuple(a)
        self.a, self.generic = dict(a), dict(generic)
        self.roots = {path: find_norm_roots(rows) for path, rows in b.items()}
        self._has = {
            path: rows.flatten(1).any(1) & self.roots[path].flatten(1).any(1) for path, rows in a.items()
        }
        self.top_k, self.temperature, self.abstain = top_k, temperature, abstain

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Measure how strongly experts answer tokens ``[T, I]``: ``[T, E]``."""
        return log_lengths(x, self.a[place], self.roots[place])

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose for requests with these mean log lengths, ``[B, E]`` by path: ``[B, K]`` and ``[B, K]``."""
        scores = {path: lengths - self.generic[path] for path, lengths in averages.items()}
        return keep_top_k(average_layers(scores, self._has), self.top_k, self.temperature, self.abstain)


def build_calibrated(config: CalibratedConfig, material: RequestMaterial) -> RequestRouter:
    """Build a model's calibrated router.

    Raises:
        ValueError: if the material lacks what the score needs, or has fewer experts than ``top_k``.
    """
    if not material.layers:
        raise ValueError("this router needs what is known at each layer with experts, found no layer")

    def take(field: str) -> dict[str, Tensor]:
        return {path: layer.take(field) for path, layer in material.layers.items()}

    top_k, temperature, abstain = config.top_k, config.temperature, config.abstain
    if config.score == "whitened":
        return WhitenedRouter(
            take("directions"), take("offsets"), top_k=top_k, temperature=temperature, abstain=abstain
        )
    return EnergyRouter(
        take("a"), take("b"), take("log_lengths"), top_k=top_k, temperature=temperature, abstain=abstain
    )
