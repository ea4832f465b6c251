"""The card router: the base model reads the experts' cards and the request, and names an expert.

Shape letters: B requests, E experts, K experts kept per request, N bytes of a card.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.files import parse_json_object, quote
from lorary.routing.configs.card import CardConfig
from lorary.routing.configs.checks import check_choice, check_top_k
from lorary.routing.material import RequestMaterial
from lorary.routing.request import NAMES, Question
from lorary.routing.top_k import keep_top_k

OPENING = "Each line names an expert and says what it is for.\n\n"
ASKING = "\nWhich expert fits the request best? Answer with its name.\n\nRequest: {request}\nExpert:"
# Maximum number of a card's tasks in the text; the description covers the rest.
MOST_TASKS = 5


@dataclass(frozen=True)
class Card:
    """The text that the base model reads about an expert."""

    name: str
    """The expert's name."""
    description: str = ""
    """Its purpose."""
    tasks: tuple[str, ...] = ()
    """The tasks that it was trained on."""

    def dump(self) -> Tensor:
        """Encode it as bytes, ``[N]`` uint8: facts are tensors."""
        content = json.dumps({"name": self.name, "description": self.description, "tasks": list(self.tasks)})
        return torch.tensor(list(content.encode()), dtype=torch.uint8)

    @classmethod
    def load(cls, content: Tensor) -> "Card":
        """Decode the result of ``dump``; a saved model's file is untrusted.

        Raises:
            FormatError: if it is not a result of ``dump``.
        """
        found = parse_json_object(content.cpu().numpy().tobytes(), "the card of an expert")
        name, description, tasks = (found.get(key) for key in ("name", "description", "tasks"))
        texts = [name, description, *(tasks if isinstance(tasks, list) else [None])]
        if not all(isinstance(text, str) for text in texts):
            raise FormatError(f"the card of an expert must have texts, found {quote(found, 100)}")
        return cls(texts[0], texts[1], tuple(texts[2:]))

    def describe(self, max_description: int) -> str:
        """Write it on one line: name, description, and tasks that have other names than the expert."""
        text = " ".join(self.description.split())[:max_description].rstrip()
        tasks = [" ".join(task.split()) for task in self.tasks[:MOST_TASKS] if task != self.name]
        about = "; ".join(filter(None, [text, f"tasks: {', '.join(tasks)}" if tasks else ""]))
        return f"- {self.name}: {about}\n" if about else f"- {self.name}\n"


class CardRouter:
    """A ``RequestRouter`` by the log-likelihood of experts' names after their cards and the request.

    The cards come first, so that their text is read once for all requests of a pass if the base
    model allows it (see ``lorary.passes``). Names end with a line break, so that a name is not preferred to a
    longer one that begins with it.

    Args:
        cards: those of the E experts.
        top_k: K, the number of experts that each request keeps.
        temperature: divides log-likelihoods before the softmax.
        chunk: maximum number of cards of one text.
        max_description: maximum number of characters of a description.
        max_tokens: maximum number of a request's tokens.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range.

    Source: Adaptive Minds, arXiv:2510.15416, where the base model generates the name.
    """

    places = (NAMES,)
    skips_first = False
    last_share = 0.0

    def __init__(
        self,
        cards: Sequence[Card],
        *,
        top_k: int = 1,
        temperature: float = 1.0,
        chunk: int = 32,
        max_description: int = 120,
        max_tokens: int = 512,
        abstain: float | None = None,
    ):
        check_top_k(top_k, len(cards))
        check_choice(temperature, abstain)
        self.cards = tuple(cards)
        self.top_k, self.temperature, self.abstain = top_k, temperature, abstain
        self.max_tokens = max_tokens
        self._lines = [card.describe(max_description) for card in cards]
        # About equally many cards in each text.
        count = -(-len(cards) // chunk)
        bounds = [round(number * len(cards) / count) for number in range(count + 1)]
        self._chunks = [range(start, end) for start, end in pairwise(bounds)]

    def ask(self, requests: Sequence[str]) -> list[Question]:
        """Return the questions about some requests: one for each chunk of cards; see ``AskingRouter``."""
        return [
            Question(
                request=number,
                prompt=OPENING
                + "".join(self._lines[expert] for expert in chunk)
                + ASKING.format(request=request.strip()),
                answers=[f" {self.cards[expert].name}\n" for expert in chunk],
                experts=list(chunk),
            )
            for chunk in self._chunks
            for number, request in enumerate(requests)
        ]

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Return the tokens unchanged; the router reads no layer."""
        return x

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: ``NAMES`` -> log-likelihoods of the experts' names, ``[B, E]``.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32.
        """
        return keep_top_k(averages[NAMES], self.top_k, self.temperature, self.abstain)


def build_card(config: CardConfig, material: RequestMaterial) -> CardRouter:
    """Build a model's card router.

    Raises:
        ValueError: if the material lacks cards, or has fewer experts than ``top_k``.
    """
    return CardRouter(
        [Card.load(content) for content in material.take("card_texts")],
        top_k=config.top_k,
        temperature=config.temperature,
        chunk=config.chunk,
        max_description=config.max_description,
        max_tokens=config.max_tokens,
        abstain=config.abstain,
    )
