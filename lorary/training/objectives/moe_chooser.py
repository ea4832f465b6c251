"""The chooser of a pass through a mixture of experts in training.

T tokens, I layer input, E routed experts.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from lorary.experts.seeds import seed_for
from lorary.models import ExpertStack
from lorary.models.architecture import is_encoder_decoder
from lorary.models.called import find_reading_layers
from lorary.passes.split import Pass
from lorary.routing import Choice
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.choice import choose_moe
from lorary.routing.moe.router import place_choice
from lorary.routing.moe.scores import MoeScores, normalise_inputs, score_moe, split_parameters
from lorary.training.objectives.moe_sums import LayerSums, sum_tokens


class NoiseSource(NamedTuple):
    """The noise of one pass of one step: the same each time it is drawn, as when a layer is run again."""

    seed: int
    """Of the pass."""
    jitter: float | None
    """Inputs are multiplied by numbers from 1 - jitter to 1 + jitter; None for noise of scores."""


class MoeChooser:
    """Routes the tokens of a pass, and sums what losses and usage need over them.

    Args:
        form: the router's form.
        parameters: module path -> the layer's parameters, joined.
        places: the places in the stacks of the routed experts, then of the shared ones.
        part: the pass.
        noise: the noise; None for none, as in evaluation.
        amounts: module path -> rows by which the amount of noise of each score is found, ``[scores, I]``.
        watches: whether to sum.
        decoding: the paths of layers that read what a decoder reads, if the model has an encoder.
    """

    def __init__(
        self,
        form: MoeForm,
        parameters: Mapping[str, Tensor],
        places: Tensor,
        part: Pass,
        *,
        noise: NoiseSource | None = None,
        amounts: Mapping[str, Tensor] | None = None,
        watches: bool = False,
        decoding: Collection[str] = (),
    ):
        self.form, self.parameters, self.places = form, parameters, places
        self.noise, self.amounts = noise, amounts or {}
        self.part, self.decoding = part, decoding
        self.sums: dict[str, list[LayerSums]] = {}
        """Module path -> the sums of each of its calls in this pass."""
        self.watches = watches
        self.is_open = True
        """Whether sums are kept. Layers that are run again for their gradients compute the sums again, since
        they must compute the same as before, but these sums are not kept."""

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Choose each token's experts; see ``Chooser``."""
        width = x.shape[-1]
        inputs = normalise_inputs(x, self.form.input_norm)
        scores = score_moe(
            self.form, split_parameters(self.form, self.parameters[path], width), self._shake(path, inputs)
        )
        scores = self._add_noise(path, scores, inputs)
        kept = choose_moe(self.form, scores)
        if self.watches:
            uses = count_uses(self.part, rows, is_decoding=path in self.decoding)
            found = sum_tokens(self.form, scores, kept, uses)
            if self.is_open:
                self.sums.setdefault(path, []).append(found)
        return Choice(*place_choice(self.form, scores, kept, self.places))

    def _shake(self, path: str, inputs: Tensor) -> Tensor:
        if self.noise is None or self.noise.jitter is None:
            return inputs
        draw = self._draw(path, inputs.shape, "uniform", inputs.device)
        return inputs * (1 + self.noise.jitter * (2 * draw - 1))

    def _add_noise(self, path: str, scores: MoeScores, inputs: Tensor) -> MoeScores:
        """Add gaussian noise of trained amounts, ``softplus(x · u)``, to the scores of experts or grid."""
        if self.noise is None or self.noise.jitter is not None:
            return scores
        names = [
            name for name in ("experts", "groups", "first", "second") if getattr(scores, name) is not None
        ]
        parts = [getattr(scores, name) for name in names]
        sizes = [part.shape[1] for part in parts]
        amount = softplus(linear(inputs, self.amounts[path]))
        noise = amount * self._draw(path, amount.shape, "normal", inputs.device)
        new = {name: part + own for name, part, own in zip(names, parts, noise.split(sizes, 1), strict=True)}
        return scores._replace(**new)

    def _draw(self, path: str, shape: torch.Size, kind: str, device: torch.device) -> Tensor:
        assert self.noise is not None
        generator = torch.Generator().manual_seed(seed_for(self.noise.seed, path))
        draw = torch.rand if kind == "uniform" else torch.randn
        return draw(shape, generator=generator).to(device)


def find_decoding(stack: ExpertStack) -> frozenset[str]:
    """Return the layers that read a decoder's tokens, on a model with an encoder; none on other models."""
    if not is_encoder_decoder(stack.model):
        return frozenset()
    return frozenset(stack.layers.keys() - find_reading_layers(stack.model))


def count_uses(part: Pass, rows: Tensor, *, is_decoding: bool) -> Tensor:
    """Return the number of sequences that each token of a layer's call belongs to, ``[T]``; 0 for padding.

    A layer that is called with fewer tokens, such as those whose logits are needed, counts each once.

    Args:
        part: the pass.
        rows: the request of each token, ``[T]``, as choosers get it.
        is_decoding: whether the layer reads a decoder's tokens, with an encoder for the prompts.
    """
    known = part.batch.decoder_uses if is_decoding else part.batch.uses
    return known.flatten() if known is not None and known.numel() == len(rows) else (rows >= 0).long()
