"""Embeddings of experts' example prompts, stored with a library's experts.

N examples of an expert, D width of an embedding.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.experts import Expert
from lorary.facts.carrier import Carrier
from lorary.facts.encoder import Encoder, embed_with
from lorary.facts.examples import choose_examples, hash_tokens, wrap_texts
from lorary.facts.fact import Context, Fact, Source
from lorary.facts.finding import find_rows
from lorary.facts.reading import read_hidden
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.facts.soundness import Artifact, has_form
from lorary.library.derive import IsSound
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
    """Return the embeddings of experts' example prompts; missing ones are computed.

    If ``experts`` is a ``Library``, embeddings are stored in it, under the base model's fingerprint and the
    hash of the prompts.

    Args:
        model: a model with the experts attached.
        experts: the mapping that they were loaded from.
        sequences: expert -> token ids of prompts of its own task, without answers; about 20 are enough.
        encoder: function from texts to vectors, used instead of the base model; nothing is stored then.
        tokens_per_pass: maximum number of tokens per forward pass; a longer prompt runs alone.

    Returns:
        Expert -> embeddings ``[N, D]``, float32, on the CPU: each prompt's mean last hidden state, or its
        vector from the encoder. Pass them to ``provide(embeddings=…)``, together with the encoder if any.

    Raises:
        ValueError: if an expert has no prompts, if one is empty, or if the encoder does not return one
            vector per text.
        UnknownExpert: if an expert is not on the model, or not in the library.
        LibraryError: if the library cannot be written.
    """
    for name, prompts in sequences.items():
        model.stack.index(name)
        if not prompts or not all(len(ids) for ids in prompts):
            raise ValueError(f"expert {name!r} needs at least one prompt, of at least one token each")
    if encoder is not None:
        return {name: embed_with(encoder, model.base.tokenizer, own) for name, own in sequences.items()}

    context = Context(
        base=model.base,
        stack=model.stack,
        experts=experts,
        options={"num_texts": None, "tokens_per_pass": tokens_per_pass},
        examples={name: wrap_texts(prompts) for name, prompts in sequences.items()},
    )
    with model.stack.in_use():
        return dict(find_rows(EMBEDDINGS, context, list(sequences))["embeddings"])


def embed_prompts(
    stack: ExpertStack, sequences: Mapping[str, Prompts], tokens_per_pass: int = 2048
) -> dict[str, Tensor]:
    """Average the base model's last hidden states over each prompt.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        sequences: name -> token ids of prompts, of at least one token each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer prompt runs alone.

    Returns:
        Name -> the mean input of the output layer over each prompt, ``[N, D]``, float32, on the CPU.
    """
    flat = [ids for prompts in sequences.values() for ids in prompts]
    rows: dict[int, Tensor] = {}
    for members in cut_passes([len(ids) for ids in flat], tokens_per_pass):
        requests = pad_prompts([flat[index] for index in members], stack.model.device)
        rows.update(zip(members, read_hidden(stack, requests).cpu(), strict=True))
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
    advice="find them with lorary.facts.find_embeddings",
    compute=_compute,
    algorithm=ALGORITHM,
    digest=lambda context, name: hash_tokens(_read_prompts(context, name)),
    check=_check,
)
