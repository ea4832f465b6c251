"""Inputs of layers on sampled tokens of generic requests, from which calibrations are computed.

They do not depend on experts. So the base model reads the requests once, whatever the number of experts, and
the inputs are kept in the cache folder for experts that come later.

S sampled tokens, I layer input, B requests of a pass, L their length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.facts.cache import Cache
from lorary.facts.reading import read_alone
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.facts.soundness import Artifact
from lorary.facts.token_sample import TokenSample
from lorary.library.key import Key
from lorary.models import ExpertStack
from lorary.models.capture import capture_inputs

ALGORITHM = "generic-inputs-1"
# Bytes that are kept in the cache folder at most: a base model with larger inputs reads the requests again
# for experts that are added later. SmolLM2-135M's take 170 MB, those of Mistral-7B 1.5 GB.
MOST_STORED = 2**31
TOKENS_PER_PASS = 1024
# Numbers are stored in float16: the largest one of a layer is scaled to this power of two.
LARGEST = 2.0**14
# Smaller differences count as 0.
SMALLEST = 2.0**-100


class Inputs(NamedTuple):
    """The inputs of a layer. Most of any input is the generic mean, so it is stored apart, in float32."""

    rows: Tensor
    """Differences from ``center``, divided by ``scale``, ``[S, I]``, float16."""
    center: Tensor
    """The mean over the sampled tokens, ``[I]``, float32."""
    scale: Tensor
    """A power of two, ``[1]``, float32."""

    def difference(self, device: torch.device) -> Tensor:
        """Return the differences from ``center``, ``[S, I]``, float32."""
        return self.rows.to(device).float() * self.scale.to(device)


def round_inputs(x: Tensor) -> Inputs:
    """Round the inputs ``[S, I]`` of a layer to float16, after the mean was taken out."""
    wide = x.float()
    center = wide.mean(0)
    rows = wide - center
    largest = rows.abs().max().clamp_min(SMALLEST)
    scale = torch.exp2((largest / LARGEST).log2().ceil()).reshape(1)
    return Inputs((rows / scale).half().cpu(), center.cpu(), scale.cpu())


def find_generic_inputs(
    stack: ExpertStack,
    paths: Sequence[str],
    sequences: Sequence[Sequence[int]],
    sample: TokenSample,
    key: Mapping[str, Any],
    fingerprint: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Inputs]:
    """Return the inputs of layers on generic requests; missing ones are read, and kept in the cache folder.

    Args:
        stack: the experts on the model; they are switched off while it reads.
        paths: the layers; one of each group that receives the same input is enough.
        sequences: token ids of the requests, at least two in each.
        sample: the tokens that are kept.
        key: identifies the requests and the sample, as JSON values.
        fingerprint: of the base model.
        on_progress: called with the numbers of passes done and of all passes, if the model has to read.

    Returns:
        Module path -> inputs.
    """
    keys = {path: Key(ALGORITHM, {**key, "layer": path}, (fingerprint,)) for path in paths}
    found = {}
    for path, own in keys.items():
        known = _take_stored(Cache().load(own), len(sample), stack.layers[path].a.shape[2])
        if known is not None:
            found[path] = known
    missing = [path for path in paths if path not in found]
    if missing:
        read = read_generic_inputs(stack, missing, sequences, sample, on_progress=on_progress)
        if sum(each.rows.nbytes for each in read.values()) <= MOST_STORED:
            Cache().save_all({keys[path]: inputs._asdict() for path, inputs in read.items()})
        found |= read
    return found


@torch.no_grad()
def read_generic_inputs(
    stack: ExpertStack,
    paths: Sequence[str],
    sequences: Sequence[Sequence[int]],
    sample: TokenSample,
    *,
    tokens_per_pass: int = TOKENS_PER_PASS,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Inputs]:
    """Let the base model read generic requests; see ``find_generic_inputs``.

    Args:
        stack: the experts on the model.
        paths: the layers.
        sequences: token ids of the requests.
        sample: the tokens that are kept.
        tokens_per_pass: maximum number of tokens per forward pass; a longer request runs alone.
        on_progress: called with the numbers of passes done and of all passes.
    """
    parts: dict[str, dict[int, Tensor]] = {path: {} for path in paths}
    passes = cut_passes([len(ids) for ids in sequences], tokens_per_pass)
    for done, members in enumerate(passes, 1):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        mask = torch.zeros_like(requests.inputs["attention_mask"], dtype=torch.bool)
        for row, index in enumerate(members):
            mask[row, sample.places[index]] = True
        sizes = [len(sample.places[index]) for index in members]

        def keep(path: str, x: Tensor, members: Sequence[int] = members, sizes: list[int] = sizes) -> None:
            if path in parts:
                parts[path].update(zip(members, x.split(sizes), strict=True))

        with capture_inputs(stack, mask, keep):
            read_alone(stack, requests)
        if on_progress is not None:
            on_progress(done, len(passes))
    order = range(len(sequences))
    return {path: round_inputs(torch.cat([own[index] for index in order])) for path, own in parts.items()}


def _take_stored(artifact: Artifact | None, num_tokens: int, width: int) -> Inputs | None:
    """Return stored inputs; None if there are none, or of another form."""
    form = {
        "rows": (torch.float16, (num_tokens, width)),
        "center": (torch.float32, (width,)),
        "scale": (torch.float32, (1,)),
    }
    if artifact is None or artifact.keys() != form.keys():
        return None
    if any((artifact[name].dtype, tuple(artifact[name].shape)) != own for name, own in form.items()):
        return None
    return Inputs(**artifact) if float(artifact["scale"]) > 0 else None
