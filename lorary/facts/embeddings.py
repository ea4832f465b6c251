"""Embeddings of experts' example prompts, stored with a library's experts.

N examples of an expert, D width of an embedding.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.facts.examples import choose_examples, hash_tokens
from lorary.facts.fact import Context, Fact, Source
from lorary.facts.reading import read_hidden
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.facts.soundness import Artifact, has_form
from lorary.library.derive import IsSound
from lorary.models import ExpertStack

ALGORITHM = "mean-hidden-states-1"

Prompts = Sequence[Sequence[int]]
"""Token ids, a list per prompt."""


def embed_prompts(
    stack: ExpertStack,
    sequences: Mapping[str, Prompts],
    tokens_per_pass: int = 2048,
    *,
    without_general: bool = False,
) -> dict[str, Tensor]:
    """Average the base model's last hidden states over each prompt.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        sequences: name -> token ids of prompts, of at least one token each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer prompt runs alone.
        without_general: whether a general expert that experts build on is off too.

    Returns:
        Name -> the mean input of the output layer (or output of the encoder, if there is one) over each
        prompt, ``[N, D]``, float32, on the CPU.
    """
    flat = [ids for prompts in sequences.values() for ids in prompts]
    rows: dict[int, Tensor] = {}
    for members in cut_passes([len(ids) for ids in flat], tokens_per_pass):
        requests = pad_prompts([flat[index] for index in members], stack.model.device)
        found = read_hidden(stack, requests, without_general=without_general)
        rows.update(zip(members, found.cpu(), strict=True))
    everything = torch.stack([rows[index] for index in range(len(flat))])
    parts = everything.split([len(prompts) for prompts in sequences.values()])
    return dict(zip(sequences, parts, strict=True))


def _read_prompts(context: Context, name: str) -> list[tuple[int, ...]]:
    return [example.prompt_ids for example in choose_examples(context, name)]


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    prompts = {name: _read_prompts(context, name) for name in names}
    found = embed_prompts(context.stack, prompts, context.options.get("tokens_per_pass", 2048))
    return {name: {"embeddings": rows} for name, rows in found.items()}


def _check(context: Context) -> IsSound:
    output = context.base.model.get_output_embeddings()
    # The output layer may itself carry experts; its base layer has the weight.
    width = getattr(output, "base", output).weight.shape[1]

    def is_sound(name: str, artifact: Artifact) -> bool:
        sizes = {"embeddings": (len(_read_prompts(context, name)), width)}
        return has_form(artifact, sizes, has_layout=False)

    return is_sound


EMBEDDINGS = Fact(
    name="embeddings",
    place="output",
    source=Source.EXAMPLES,
    compute=_compute,
    algorithm=ALGORITHM,
    digest=lambda context, name: hash_tokens(_read_prompts(context, name)),
    check=_check,
)
