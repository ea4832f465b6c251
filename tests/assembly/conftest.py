import pytest
import torch
from torch import nn

from lorary.assembly import load_model
from lorary.facts import find_task_facts
from tests.facts.texts import take_for_examples

NUM_KEPT = 3
EXAMPLES = {
    "dates": ["2024-02-03", "date 1999"],
    "morse": ["... --- ...", "-.-.", "morse e"],
    "plurals": ["plural of goose"],
    "prices": ["3 apples cost $4", "price of tea"],
    "narrow": ["zzzz"],
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def base(build_tiny_base):
    return build_tiny_base()


@pytest.fixture
def experts(base, draw_expert):
    """Five experts of different ranks, one of which changes few layers."""
    ranks = {"dates": 1, "morse": 2, "plurals": 3, "prices": 4}
    found = {name: draw_expert(base, name, rank=rank) for name, rank in ranks.items()}
    return {**found, "narrow": draw_expert(base, "narrow", targets=["q_proj", "down_proj"])}


@pytest.fixture
def model(base, experts):
    """The experts on their base model, routed by Arrow."""
    return load_model(base, experts, router="arrow", top_k=NUM_KEPT)


@pytest.fixture
def sequences(base):
    """Expert -> token ids of examples of its task."""
    return {name: [base.tokenizer(text)["input_ids"] for text in texts] for name, texts in EXAMPLES.items()}


@pytest.fixture
def ready(model, sequences):
    """The model with what request routers need of everyone's examples."""
    model.set_router(None)
    facts = ["embeddings", "components"]
    model.provide(find_task_facts(model, {}, take_for_examples(sequences), facts))
    return model


@pytest.fixture
def input_ids():
    return torch.randint(1, 257, (2, 9), generator=torch.Generator().manual_seed(2))


class NaiveArrowLinear(nn.Module):
    """Arrow as its paper reads: per token and expert, from dense weight changes, one after the other."""

    def __init__(self, base, pairs, options, combine):
        super().__init__()
        self.base, self.pairs, self.options, self.combine = base, pairs, options, combine
        self.directions = [self.find_direction(pair) for pair in pairs]

    def find_direction(self, pair):
        if pair is None:
            return 0.0
        _, gains, directions = torch.linalg.svd(pair.b.double() @ pair.a.double())
        return directions[0] * (gains[0] if self.options.weigh_by_gain else 1.0)

    def change(self, x):
        size = {"none": 1.0, "unit": x.norm(), "rms": x.pow(2).mean().sqrt()}[self.options.input_norm]
        scores = torch.stack([(direction * x).sum().abs() / size for direction in self.directions])
        kept = scores.argsort(descending=True)[: self.options.top_k].tolist()
        weights = torch.softmax(scores[kept] / self.options.temperature, 0)
        chosen = [(w, self.pairs[e]) for w, e in zip(weights, kept, strict=True) if self.pairs[e] is not None]
        if self.combine == "outputs" or not chosen:
            return sum(w * (p.b.double() @ (p.a.double() @ x)) for w, p in chosen)
        rank = max(p.rank for _, p in chosen)
        a = sum(w * pad_rows(p.a.double(), rank) for w, p in chosen)
        b = sum(w * pad_rows(p.b.double().T, rank) for w, p in chosen)
        return b.T @ (a @ x)

    def forward(self, x):
        y = self.base(x)
        changes = [self.change(token) for token in x.reshape(-1, x.shape[-1])]
        flat = [row + change for row, change in zip(y.reshape(-1, y.shape[-1]), changes, strict=True)]
        return torch.stack(flat).view(y.shape)


def pad_rows(rows, count):
    return torch.cat([rows, rows.new_zeros(count - rows.shape[0], rows.shape[1])])


@pytest.fixture
def put_naive_experts():
    """Put experts on a model with naive layers, in place."""

    def put(model, experts, options, combine):
        for path in {path for expert in experts.values() for path in expert.factors}:
            pairs = [expert.factors.get(path) for expert in experts.values()]
            layer = NaiveArrowLinear(model.get_submodule(path), pairs, options, combine)
            model.set_submodule(path, layer)
        return model

    return put
