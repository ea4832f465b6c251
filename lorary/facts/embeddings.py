"""Embeddings of experts' example prompts, kept with a library's experts.

N examples of an expert, D width of an embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import torch
from torch import Tensor

from lorary.experts import Expert
from lorary.facts.carrier import Carrier
from lorary.facts.encoder import Encoder, embed_with
from lorary.facts.keeping import keep_artifacts
from lorary.facts.reading import read_hidden
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.facts.soundness import are_sound_embeddings
from lorary.library import Library
from lorary.models import ExpertStack

ALGORITHM = "mean-hidden-states-1"

Prompts = Sequence[Sequence[int]]
"""Token ids, a list per prompt."""


def find_embeddings(
    model: Carrier,
    experts: Mapping[str, Expert],
    sequences: Mapping[str, Prompts],
    *,
    encoder: Encoder | None = None,
    tokens_per_pass: int = 2048,
) -> dict[str, Tensor]:
    """Embed experts' example prompts; a ``Library`` keeps them, and only those it lacks are computed.

    They are kept under the base model's fingerprint and the hash of the prompts.

    Args:
        model: carries the experts.
        experts: where they were loaded from.
        sequences: expert -> prompts of its own task, without their answers; some 20 are plenty.
        encoder: texts -> vectors, in place of the base model; then nothing is kept.
        tokens_per_pass: most tokens in one forward pass; a longer prompt runs alone.

    Returns:
        Expert -> embeddings ``[N, D]``, float32, on the CPU: each prompt's mean last hidden state, or what
        the encoder says. Hand them over with ``provide(embeddings=…)``, and the encoder with them.

    Raises:
        ValueError: if an expert has no prompts, or one is empty, or for what an encoder gives.
        UnknownExpert: if an expert is not on the model, or not in the library.
        LibraryError: if nothing can be written.
    """
    for name, prompts in sequences.items():
        model.stack.index(name)
        if not prompts or not all(len(ids) for ids in prompts):
            raise ValueError(f"expert {name!r} needs prompts of at least one token each, and one at least")
    if encoder is not None:
        return {name: embed_with(encoder, model.base.tokenizer, own) for name, own in sequences.items()}

    def compute(names: Sequence[str]) -> dict[str, Tensor]:
        return embed_prompts(model.stack, {name: sequences[name] for name in names}, tokens_per_pass)

    with model.stack.in_use():
        if isinstance(experts, Library):
            output = model.base.model.get_output_embeddings()
            width = getattr(output, "base", output).weight.shape[1]
            return _keep(experts, model.base.fingerprint, width, sequences, compute)
        return compute(list(sequences))


def embed_prompts(
    stack: ExpertStack, sequences: Mapping[str, Prompts], tokens_per_pass: int = 2048
) -> dict[str, Tensor]:
    """Average the base model's last hidden states over each prompt.

    Args:
        stack: the experts on the model; they take no part.
        sequences: name -> prompts of at least one token each.
        tokens_per_pass: most tokens in one forward pass; a longer prompt runs alone.

    Returns:
        Name -> what goes into the output layer, averaged over a prompt, ``[N, D]``, float32, on the CPU.
    """
    flat = [ids for prompts in sequences.values() for ids in prompts]
    rows: dict[int, Tensor] = {}
    for members in cut_passes([len(ids) for ids in flat], tokens_per_pass):
        requests = pad_prompts([flat[index] for index in members], stack.model.device)
        rows.update(zip(members, read_hidden(stack, requests).cpu(), strict=True))
    everything = torch.stack([rows[index] for index in range(len(flat))])
    parts = everything.split([len(prompts) for prompts in sequences.values()])
    return dict(zip(sequences, parts, strict=True))


def _keep(
    library: Library,
    fingerprint: str,
    width: int,
    sequences: Mapping[str, Prompts],
    compute: Callable[[Sequence[str]], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Take from a library's artifacts what is there, and put there what had to be computed."""

    wanted = {
        name: {"base": fingerprint, "data": sha256(str([list(ids) for ids in own]).encode()).hexdigest()}
        for name, own in sequences.items()
    }
    found = keep_artifacts(
        library,
        ALGORITHM,
        wanted,
        lambda batch: {name: {"embeddings": rows} for name, rows in compute(list(batch)).items()},
        lambda name, artifact: are_sound_embeddings((len(sequences[name]), width), artifact),
    )
    return {name: artifact["embeddings"] for name, artifact in found.items()}
