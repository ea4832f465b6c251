"""Mean activations: the mean input of each layer on tokens of each expert's own task.

N experts of a call, I layer input.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lorary.facts.examples import choose_examples, hash_tokens
from lorary.facts.fact import Context, Fact, Source
from lorary.facts.own_texts import Sequences, read_own_texts
from lorary.facts.rows import pack_rows
from lorary.facts.soundness import Artifact
from lorary.models import ExpertStack

ALGORITHM = "mean-activations-1"


def _read_texts(context: Context, name: str) -> Sequences:
    few = choose_examples(context, name)
    if context.base.is_encoder_decoder:
        return few
    return [[*example.prompt_ids, *example.target_ids] for example in few]


def _digest(context: Context, name: str) -> str:
    few = choose_examples(context, name)
    if context.base.is_encoder_decoder:
        return hash_tokens([ids for each in few for ids in (each.prompt_ids, each.target_ids)])
    return hash_tokens([[*example.prompt_ids, *example.target_ids] for example in few])


def _identify(context: Context) -> dict[str, Any]:
    # An artifact has a mean for each layer with experts; an expert added later may change further layers.
    layers = sha256("\n".join(sorted(context.stack.layers)).encode()).hexdigest()[:16]
    return {"layers": layers}


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    texts = {name: _read_texts(context, name) for name in names}
    tokens_per_pass = context.options.get("tokens_per_pass", 2048)
    return pack_rows(mean_activations(context.stack, texts, tokens_per_pass=tokens_per_pass), names)


@torch.no_grad()
def mean_activations(
    stack: ExpertStack, sequences: Mapping[str, Sequences], *, tokens_per_pass: int = 2048
) -> dict[str, Tensor]:
    """Average the inputs of each layer with experts over all tokens of an expert's texts.

    The base model reads every text with the text's own expert switched on, as in that expert's training.

    Args:
        stack: the experts on the model.
        sequences: expert -> texts of its own task, see ``OwnText``.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.

    Returns:
        Module path -> means ``[N, I]``, float32, on the CPU; rows in the order of ``sequences``.

    Raises:
        ValueError: if an expert has no tokens.
        UnknownExpert: if an expert is not on the model.

    Source: average activation, a baseline of PhatGOOSE, arXiv:2402.05859.
    """
    names = list(sequences)
    sums = {
        path: torch.zeros(len(names), layer.a.shape[2], dtype=torch.float64, device=layer.a.device)
        for path, layer in stack.layers.items()
    }

    counts = {path: total.new_zeros(len(names)) for path, total in sums.items()}

    def add(path: str, owner: Tensor, x: Tensor) -> None:
        sums[path].index_add_(0, owner, x.double())
        counts[path] += torch.bincount(owner, minlength=len(names))

    read_own_texts(stack, sequences, add, tokens_per_pass=tokens_per_pass)
    return {path: (total.cpu() / counts[path].cpu()[:, None]).float() for path, total in sums.items()}


MEANS = Fact(
    name="means",
    source=Source.EXAMPLES,
    compute=_compute,
    algorithm=ALGORITHM,
    identify=_identify,
    digest=_digest,
)
