"""A mixture of experts as an objective: one unit, whose row has the routers of all layers.

If the experts are trained too, the row has their factors as well.

E routed experts, S shared ones, X both, R rank, I layer input, O layer output, L layers with experts, N
target tokens of a pass, f and P shares of an expert.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.experts.seeds import seed_for
from lorary.files import say_count
from lorary.models import ExpertStack
from lorary.passes import score_pass
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.routing.configs.moe_form import MoeForm
from lorary.training.loop.adamw_parts import AdamWParts, AdamWPartsSteps
from lorary.training.loop.contract import Objective
from lorary.training.loop.rows import ParameterRows
from lorary.training.objectives.expert_runs import make_adamw
from lorary.training.objectives.moe_chooser import MoeChooser, NoiseSource, find_decoding
from lorary.training.objectives.moe_config import MoeConfig
from lorary.training.objectives.moe_sums import LayerSums, add_counts
from lorary.training.progress import UnitProgress

ROUTER, AMOUNTS = "router", "noise"


def outline_moe(
    widths: Mapping[str, int], form: MoeForm, config: MoeConfig, factors: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all parameters, in the order of the row: routers first.

    Args:
        widths: module path -> I.
        form: the router's form.
        config: the configuration.
        factors: ``"<path>.a"`` and ``"<path>.b_t"`` -> shape of the experts' factors, if they are trained.
    """
    shapes: dict[str, tuple[int, ...]] = {
        f"{path}.{ROUTER}": (form.count(width),) for path, width in widths.items()
    }
    if config.noise == "gaussian":
        num_scores = form.num_rows + form.num_columns if form.cells else len(form.experts) + form.num_groups
        shapes |= {f"{path}.{AMOUNTS}": (num_scores, width) for path, width in widths.items()}
    return shapes | {name: tuple(shape) for name, shape in factors.items()}


class MoeExperts(Objective[dict[str, Tensor]]):
    """The objective of ``train_moe``, see ``lorary.training.loop.contract.Objective``.

    A step's losses are those of its target tokens, and two penalties, which are means over the L layers:

    - balance, ``E · Σ_e f_e P_e`` (Switch Transformers): f_e is the share of expert e among the choices of
      the step's tokens, P_e the mean of its share in the softmax of all scores. It is 1 for an even use. f
      has no gradient. With product keys it is the mean of such sums over the grid's rows and its columns.
    - z, the mean of squared log-sum-exps of a token's scores (ST-MoE). With product keys it is that of the
      whole grid, free cells included; with groups that of the groups, and the mean of those in the groups.

    They are defined over all tokens of the step's examples, whatever passes they are divided into: a token of
    a shared prefix counts once for each of its examples, and padding does not count. As P is a mean,
    passes add up, once f is known. So if a batch needs several passes, they run once more beforehand, without
    gradients, to count f. Noise is drawn for each pass, so with noise the division into passes matters.

    Args:
        stack: the experts on the base model.
        form: the router's form.
        starts: module path -> first values of the layer's router, joined.
        config: the configuration.

    Source: arXiv:2101.03961, arXiv:2202.08906; noise also arXiv:1701.06538.
    """

    def __init__(self, stack: ExpertStack, form: MoeForm, starts: Mapping[str, Tensor], config: MoeConfig):
        self.stack, self.form, self.starts, self.config = stack, form, starts, config
        layers = stack.layers
        self._factors: dict[str, Tensor] = {}
        if config.train_experts:
            for path, layer in layers.items():
                self._factors |= {f"{path}.a": layer.a.detach(), f"{path}.b_t": layer.b_t.detach()}
        widths = {path: layer.a.shape[2] for path, layer in layers.items()}
        shapes = outline_moe(
            widths, form, config, {name: tuple(own.shape) for name, own in self._factors.items()}
        )
        device = next(iter(layers.values())).a.device
        self.rows = ParameterRows(1, shapes, device)
        places = [stack.index(name) for name in (*form.experts, *form.shared)]
        self.places = torch.tensor(places, device=device)
        num_factors = sum(own.numel() for own in self._factors.values())
        self._adamw = _choose_optimizer(config, self.rows.num_parameters - num_factors, num_factors)
        self._decoding = find_decoding(stack)
        self._optimizer: AdamWPartsSteps | None = None
        self._seed = self._num_passes = 0
        # Sums over a step's passes: module path -> counts of each head and number of tokens.
        self._counted: dict[str, tuple[list[Tensor], float]] | None = None
        if config.train_experts:
            for layer in layers.values():
                # Parameters cannot be replaced by views with gradients, so these are no longer parameters.
                del layer.a, layer.b_t
            self._place_factors()

    @torch.no_grad()
    def start(self, name: str, slot: int, num_steps: int) -> AdamWPartsSteps:
        """Start with the given routers and the unchanged experts; amounts of noise start at zero."""
        self._seed = seed_for(self.config.train.seed, name)
        self.rows.values[slot] = 0
        for path, own in self.starts.items():
            self.rows.parts[f"{path}.{ROUTER}"][slot].copy_(own)
        for key, own in self._factors.items():
            self.rows.parts[key][slot].copy_(own)
        self._optimizer = self._adamw.start(self.rows.values[slot], num_steps)
        return self._optimizer

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Return 0: experts are chosen by token, so examples of all tasks may share prefixes."""
        return 0

    def survey(self, parts: Sequence[Pass]) -> None:
        """Count the choices of all passes of a step, if there are several and the balance loss needs them."""
        self._num_passes, self._counted = 0, None
        if len(parts) == 1 or not self._has_penalty:
            return
        found: dict[str, list[LayerSums]] = {}
        with torch.no_grad():
            for number, part in enumerate(parts):
                chooser = self.make_chooser(part, self._make_noise(number), watches=True)
                self._place_factors()
                score_pass(self.stack, part, chooser)
                for path, sums in chooser.sums.items():
                    found.setdefault(path, []).extend(sums)
        self._counted = {path: add_counts(sums) for path, sums in found.items()}

    def routing(self, part: Pass) -> MoeChooser:
        """Return the chooser that routes each token; without gradients, as in validation, without noise."""
        self._place_factors()
        if not torch.is_grad_enabled():
            return self.make_chooser(part)
        self._num_passes += 1
        noise = self._make_noise(self._num_passes - 1)
        return self.make_chooser(part, noise, watches=self._has_penalty)

    def penalty(self, chooser: Chooser | None) -> Tensor | None:
        """Return a pass's part of balance and z-loss."""
        assert isinstance(chooser, MoeChooser)
        chooser.is_open = False
        if not self._has_penalty:
            return None
        parts = [self._penalise(path, sums) for path, sums in chooser.sums.items()]
        return torch.stack(parts).sum() / len(self.stack.layers)

    def _penalise(self, path: str, sums: Sequence[LayerSums]) -> Tensor:
        counts, num_tokens = add_counts(sums) if self._counted is None else self._counted[path]
        found = self.config.z_loss * torch.stack([part.z for part in sums]).sum() / num_tokens
        for part in sums:
            pairs = zip(part.heads, counts, strict=True)
            balance = torch.stack([head.balance(own, num_tokens) for head, own in pairs]).mean()
            found = found + self.config.balance * balance
        return found

    @property
    def _has_penalty(self) -> bool:
        return self.config.balance > 0 or self.config.z_loss > 0

    def make_chooser(
        self, part: Pass, noise: NoiseSource | None = None, *, watches: bool = False
    ) -> MoeChooser:
        """Make the chooser of a pass; see ``MoeChooser``."""
        parts = self.rows.parts
        return MoeChooser(
            self.form,
            {path: parts[f"{path}.{ROUTER}"][0] for path in self.stack.layers},
            self.places,
            part,
            noise=noise,
            amounts={path: parts[f"{path}.{AMOUNTS}"][0] for path in self.stack.layers}
            if self.config.noise == "gaussian"
            else None,
            watches=watches,
            decoding=self._decoding,
        )

    def _make_noise(self, number: int) -> NoiseSource | None:
        """Return the noise of a step's pass, which depends on seed, step and pass alone."""
        if self.config.noise == "none":
            return None
        assert self._optimizer is not None
        seed = seed_for(self._seed, f"step {self._optimizer.num_taken} pass {number}")
        return NoiseSource(seed, self.config.jitter if self.config.noise == "jitter" else None)

    def _place_factors(self) -> None:
        """Give the layers the experts' current factors, if these are trained."""
        if self._factors:
            for path, layer in self.stack.layers.items():
                layer.a, layer.b_t = self.rows.parts[f"{path}.a"][0], self.rows.parts[f"{path}.b_t"][0]

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        if not math.isfinite(loss):
            rates = f"router_learning_rate ({self.config.router_learning_rate:g})"
            if self.config.train_experts:
                rates += f" or learning_rate ({self.config.train.learning_rate:g})"
            raise TrainingError(
                f"router {name!r}: the {what} must be finite, found {loss} after {say_count(step, 'step')}: "
                f"lower {rates} and run again with fresh=True (--fresh)"
            )
        return loss

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> dict[str, Tensor]:
        """Return all parameters, by the names of ``outline_moe``, as copies on the CPU."""
        self.check_loss(name, "sum of weights", float(values.sum()), progress.step)
        return self.rows.copy_row(values)

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._adamw.find_fault(tensors, num_steps)


def _choose_optimizer(config: MoeConfig, num_router: int, num_factors: int) -> AdamWParts:
    adamw = make_adamw(config.train)
    router = replace(adamw, learning_rate=config.router_learning_rate, weight_decay=0.0)
    parts = {"router": (router, num_router)}
    if num_factors:
        parts["experts"] = (adamw, num_factors)
    return AdamWParts(parts)
