"""The best low-rank approximation of the changes of fine-tuning, as an expert.

R rank, I layer input, O layer output.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, ExpertCard, Factors, check_name
from lorary.experts.card import CAUSAL, SEQ_2_SEQ
from lorary.experts.parts.whole import WholePart
from lorary.files import quote
from lorary.lowrank.compress import compress_dense
from lorary.models.extraction.weights import ModelWeights, open_weights
from lorary.models.layers import is_base_layer

_NEGLIGIBLE = 1e-6
"""Directions weaker than the strongest by this factor are rounding errors."""


@dataclass(frozen=True)
class LayerChange:
    """The change of a linear layer by fine-tuning, and its approximation."""

    rank: int
    """Rank of the expert's factors; lower than requested if the change has a lower rank."""
    change: float
    """Norm of the change, relative to the weight's."""
    error: float
    """Norm of the approximation error, relative to that of the change."""


@dataclass(frozen=True)
class Extraction:
    """An expert that was extracted from a fine-tuned model."""

    expert: Expert
    """The expert."""
    layers: Mapping[str, LayerChange]
    """Module path -> its change, for all linear layers that changed."""
    error: float
    """Norm of the approximation error, relative to that of the change, over all of these layers."""
    kept: Mapping[str, float]
    """Other parameters that the expert has as a whole: name -> norm of the change, relative to its own."""
    lost: Mapping[str, float]
    """Other changed parameters that the expert lacks: name -> the same; infinite if the shape changed."""
    is_streamed: bool
    """Whether one tensor at a time was in memory; False if ``transformers`` converts the names in the
    files."""


@torch.no_grad()
def extract_expert(
    base: str,
    tuned: str,
    rank: int,
    *,
    name: str | None = None,
    keep_rest: bool = False,
    revision: str | None = None,
    tuned_revision: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Extraction:
    """Approximate the difference of a fine-tuned model from its base model by an expert.

    Each linear layer's factors are the best of their rank for ``W_tuned - W_base``. Weights are read tensor
    by tensor.

    Args:
        base: the base model: ``"smollm2-135m"``, a folder, or a hub id.
        tuned: the fine-tuned model, likewise.
        rank: R, the maximum rank of each layer's factors.
        name: of the expert; None for the last part of ``tuned``.
        keep_rest: whether other parameters that changed, such as embeddings, norms and biases, become parts
            of the expert.
        revision: of the base model.
        tuned_revision: of the fine-tuned model.
        on_progress: called with the number of finished parameters and of all parameters.

    Raises:
        ValueError: if the rank is below 1.
        BaseModelError: if a model cannot be read.
        IncompatibleExpert: if the models are of different architectures, or no weight differs.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, found {rank!r}")
    own_name = check_name(name or Path(tuned).name)
    before, after = open_weights(base, revision), open_weights(tuned, tuned_revision)
    _check_alike(before, after)
    sides = _pair_parameters(before, after)
    changes = _Changes(before, after, rank)
    for number, (parameter, (old, new)) in enumerate(sides.items(), 1):
        changes.add(parameter, old, new)
        if on_progress is not None:
            on_progress(number, len(sides))
    if not changes.layers and not changes.rest:
        raise IncompatibleExpert(
            f"{quote(tuned)} must differ from {quote(base)}, but all of their weights are equal: check both "
            "names"
        )
    rest = changes.rest
    kept = {own: value for own, value in rest.items() if keep_rest and _can_keep(own, value)}
    lost = {own: value for own, value in rest.items() if own not in kept}
    parts = _make_parts(kept, sides, after)
    card = _make_card(changes, list(kept), list(lost))
    expert = Expert(own_name, base, changes.factors, card, parts)
    is_streamed = before.is_streamed and after.is_streamed
    return Extraction(expert, changes.layers, changes.error, kept, lost, is_streamed)


class _Changes:
    """The results so far.

    Args:
        before: the base model.
        after: the fine-tuned model.
        rank: maximum of R.
    """

    def __init__(self, before: ModelWeights, after: ModelWeights, rank: int):
        self.before, self.after, self.rank = before, after, rank
        self.linear = {f"{path}.weight": module for path, module in _list_linear(after.skeleton)}
        self.factors: dict[str, Factors] = {}
        self.layers: dict[str, LayerChange] = {}
        self.rest: dict[str, float] = {}
        self._lacking = self._total = 0.0

    @property
    def error(self) -> float:
        """Norm of the approximation error, relative to that of the change, over all layers."""
        return (self._lacking / self._total) ** 0.5 if self._total else 0.0

    def add(self, parameter: str, old: str, new: str) -> None:
        """Compare a parameter, which has these names in the base model and in the fine-tuned one."""
        weight, changed = self.before.read(old), self.after.read(new)
        if weight.shape != changed.shape or parameter not in self.linear:
            change = _measure(weight, changed)
            if change:
                self.rest[parameter] = change
            return
        delta = changed.float() - weight.float()
        norm, own = _norm(delta), _norm(weight)
        if norm:
            path = parameter.removesuffix(".weight")
            oriented = delta.T if isinstance(self.linear[parameter], Conv1D) else delta
            self.factors[path], error = _approximate(oriented, self.rank)
            self.layers[path] = LayerChange(self.factors[path].rank, norm / own if own else norm, error)
            self._lacking, self._total = self._lacking + (error * norm) ** 2, self._total + norm**2


def _make_card(changes: _Changes, kept: list[str], lost: list[str]) -> ExpertCard:
    before, after = changes.before, changes.after
    provenance = {
        "tuned model": after.name,
        "tuned fingerprint": after.fingerprint,
        "rank": changes.rank,
        "error": changes.error,
        "layers": {path: asdict(change) for path, change in changes.layers.items()},
        "kept": kept,
        "lost": lost,
    }
    return ExpertCard(
        description=f"Extracted from {Path(after.name).name}, a fine-tuned {Path(before.name).name}.",
        base_revision=before.revision,
        base_fingerprint=before.fingerprint,
        provenance={"extraction": provenance},
        fan_in_fan_out=any(isinstance(changes.linear[f"{path}.weight"], Conv1D) for path in changes.factors),
        task_type=SEQ_2_SEQ if after.skeleton.config.is_encoder_decoder else CAUSAL,
    )


def _can_keep(parameter: str, change: float) -> bool:
    """Return whether a part can have a parameter: of the base model's shape, and a weight or bias."""
    return change != float("inf") and parameter.endswith((".weight", ".bias"))


def _check_alike(before: ModelWeights, after: ModelWeights) -> None:
    old, new = before.skeleton, after.skeleton
    faults = []
    if old.config.model_type != new.config.model_type:
        faults.append(f"it is a {new.config.model_type}, the base model a {old.config.model_type}")
    else:
        theirs = {path: tuple(each.get_parameter("weight").shape) for path, each in _list_linear(old)}
        ours = {path: tuple(each.get_parameter("weight").shape) for path, each in _list_linear(new)}
        # The output layer may have another vocabulary.
        output = {path for path, each in new.named_modules() if each is new.get_output_embeddings()}
        different = [
            path for path in theirs | ours if theirs.get(path) != ours.get(path) and path not in output
        ]
        faults += [f"{path} maps {ours.get(path)}, not {theirs.get(path)}" for path in different[:3]]
    if faults:
        raise IncompatibleExpert(
            f"{quote(after.name)} must be a fine-tuned {quote(before.name)}, but {'; '.join(faults)}: name "
            "the model that it was trained from"
        )


def _list_linear(model: PreTrainedModel) -> Iterable[tuple[str, torch.nn.Module]]:
    return ((path, module) for path, module in model.named_modules() if is_base_layer(module))


def _pair_parameters(before: ModelWeights, after: ModelWeights) -> dict[str, tuple[str, str]]:
    """Pair the parameters of both models: name -> its name in the base model, and in the fine-tuned one.

    An output layer that shares its weight with the embeddings in one model only is compared with these.
    """
    old, new = before.shapes, after.shapes
    names = {module: name for name, module in _name_ends(after.skeleton).items()}
    output, embeddings = names.get("output"), names.get("input")
    found = {}
    for parameter in dict.fromkeys([*new, *old]):
        sides = [parameter if parameter in shapes else None for shapes in (old, new)]
        if parameter == output:
            sides = [side or embeddings for side in sides]
        if None not in sides:
            found[parameter] = (str(sides[0]), str(sides[1]))
    return found


def _name_ends(model: PreTrainedModel) -> dict[str, str]:
    """Return the names of the weights of embeddings and output layer."""
    ends = {id(model.get_input_embeddings()): "input", id(model.get_output_embeddings()): "output"}
    return {f"{path}.weight": ends[id(each)] for path, each in model.named_modules() if id(each) in ends}


def _measure(old: Tensor, new: Tensor) -> float:
    """Return the norm of a parameter's change relative to its own; infinite if the shapes differ."""
    if old.shape != new.shape:
        return float("inf")
    change, norm = _norm(new.float() - old.float()), _norm(old)
    return change / norm if norm else change


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _approximate(delta: Tensor, rank: int) -> tuple[Factors, float]:
    """Return the best factors for a change ``[O, I]``, and their relative error."""
    a, b, error = compress_dense(delta.contiguous(), rank=rank)
    lengths = a.norm(dim=1) * b.norm(dim=0)
    kept = lengths > _NEGLIGIBLE * lengths.max()
    return Factors(a[kept].contiguous(), b[:, kept].contiguous()), error


def _make_parts(
    kept: Iterable[str], sides: Mapping[str, tuple[str, str]], after: ModelWeights
) -> dict[str, tuple[WholePart, ...]]:
    fields: dict[str, dict[str, Tensor]] = {}
    ends = {end: name for name, end in _name_ends(after.skeleton).items()}
    for name in kept:
        path, _, field = name.rpartition(".")
        values = after.read(sides[name][1]).clone()
        fields.setdefault(path, {})[field] = values
        # A shared weight is one parameter, and must change for the output layer too.
        if name == ends.get("input") and "output" in ends and ends["output"] not in sides:
            fields.setdefault(ends["output"].rpartition(".")[0], {})[field] = values
    return {path: (WholePart(own.get("weight"), own.get("bias")),) for path, own in fields.items()}
