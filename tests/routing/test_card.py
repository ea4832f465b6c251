"""The card of an expert as a fact: what is stored comes back, and anything else is refused."""

import json

import pytest
import torch

from lorary.errors import FormatError
from lorary.routing.card import Card


def encode(content):
    return torch.tensor(list(content), dtype=torch.uint8)


def test_a_card_comes_back_as_it_was():
    card = Card("sql", "writes \u201cqueries\u201d", ("select", "join"))
    assert Card.load(card.dump()) == card


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2, 3]",
        b"\xff\xfe",
        json.dumps({"name": "sql"}).encode(),
        json.dumps({"name": 1, "description": "", "tasks": []}).encode(),
        json.dumps({"name": "sql", "description": "", "tasks": "select"}).encode(),
        json.dumps({"name": "sql", "description": "", "tasks": [None]}).encode(),
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(content):
    with pytest.raises(FormatError, match="the card of an expert"):
        Card.load(encode(content))
