"""Retrieval: a request uses the experts whose example requests are nearest to it.

Shape letters: B requests, E experts, N examples, D embedding, K experts kept per request.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lorary.files import say_count
from lorary.routing.configs.checks import check_choice, check_top_k
from lorary.routing.configs.retrieval import RetrievalConfig
from lorary.routing.material import RequestMaterial
from lorary.routing.request import OUTPUT
from lorary.routing.top_k import keep_top_k


def retrieval_scores(requests: Tensor, examples: Sequence[Tensor], nearest: int = 1) -> Tensor:
    """Score each expert for each request by the mean cosine with its nearest examples.

    All vectors are centred first, by the mean over the examples of all experts, because the raw hidden states
    of a model all have nearly the same direction.

    Args:
        requests: embeddings, ``[B, D]``.
        examples: embeddings of each expert's examples, ``[N, D]`` with at least one row.
        nearest: number of nearest examples; all of an expert's, if it has fewer.

    Returns:
        Scores ``[B, E]`` in float32, from -1 to 1. A vector that equals the mean has cosine 0 with every
        other.

    Source: LoraRetriever, arXiv:2402.09997.
    """
    known = torch.cat([rows.float() for rows in examples])
    centre = known.mean(0)
    cosines = normalize(requests.float() - centre, dim=-1) @ normalize(known - centre, dim=-1).T  # [B, all N]
    own = cosines.split([len(rows) for rows in examples], dim=1)
    best = [columns.topk(min(nearest, columns.shape[1]), dim=1).values.mean(1) for columns in own]
    return torch.stack(best, dim=1)


class RetrievalRouter:
    """A ``RequestRouter`` by the experts' nearest examples.

    Args:
        examples: embeddings of each expert's examples, ``[N, D]`` with at least one row.
        top_k: K, the number of experts that each request keeps.
        temperature: divides the cosines before the softmax.
        nearest: number of nearest examples; an expert's score is the mean of their cosines.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range.
    """

    places = (OUTPUT,)
    skips_first = False
    last_share = 0.0

    def __init__(
        self,
        examples: Sequence[Tensor],
        *,
        top_k: int = 1,
        temperature: float = 1.0,
        nearest: int = 1,
        abstain: float | None = None,
    ):
        check_top_k(top_k, len(examples))
        check_choice(temperature, abstain)
        self.examples = tuple(examples)
        self.top_k = top_k
        self.temperature = temperature
        self.nearest = nearest
        self.abstain = abstain

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Return the tokens ``[T, D]`` unchanged."""
        return x

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: ``OUTPUT`` -> embeddings ``[B, D]``.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32.
        """
        return keep_top_k(self.score(averages), self.top_k, self.temperature, self.abstain)

    def score(self, averages: Mapping[str, Tensor]) -> Tensor:
        """Return the experts' scores ``[B, E]``, see `retrieval_scores`.

        Args:
            averages: ``OUTPUT`` -> embeddings ``[B, D]``.

        Raises:
            ValueError: if their D is not that of the examples' embeddings.
        """
        requests = averages[OUTPUT]
        width = self.examples[0].shape[1]
        if requests.shape[-1] != width:
            raise ValueError(
                f"embeddings of requests must have {say_count(width, 'number')}, like those of the "
                "examples, found "
                f"{requests.shape[-1]}: compute the examples' embeddings with the encoder that is in use"
            )
        examples = [rows.to(requests.device) for rows in self.examples]
        return retrieval_scores(requests, examples, self.nearest)


def build_retrieval(config: RetrievalConfig, material: RequestMaterial) -> RetrievalRouter:
    """Build a model's retrieval router.

    Raises:
        ValueError: if the material lacks embeddings, or has fewer experts than ``top_k``.
    """
    return RetrievalRouter(
        material.take("embeddings"),
        top_k=config.top_k,
        temperature=config.temperature,
        nearest=config.nearest,
        abstain=config.abstain,
    )
