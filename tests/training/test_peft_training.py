"""Training experts of other kinds by PEFT's layers."""

import copy
import warnings

import pytest
import torch

from lorary.data.tokens import TokenizedExample
from lorary.errors import UnsupportedAdapter
from lorary.models import attach_experts
from lorary.training import TrainConfig, TrainingExamples, train_with_peft


@pytest.fixture(scope="module")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


@pytest.fixture
def base(build_tiny_base):
    return build_tiny_base()


EXAMPLES = TrainingExamples(
    tuple(TokenizedExample((5, 9, 11 + place), (30, 31)) for place in range(6)), tasks=("verse",)
)
CONFIG = TrainConfig(max_steps=12, learning_rate=2e-2, batch_size=3, tokens_per_pass=8)


def configure(peft, kind):
    layers = ["q_proj", "down_proj"]
    return {
        "dora": lambda: peft.LoraConfig(r=2, target_modules=layers, use_dora=True),
        "whole": lambda: peft.LoraConfig(r=2, target_modules=layers, modules_to_save=["lm_head"]),
        "ia3": lambda: peft.IA3Config(target_modules=layers, feedforward_modules=["down_proj"]),
        "sparse": lambda: peft.ShiraConfig(r=1, target_modules=layers, random_seed=3),
    }[kind]()


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("kind", ["dora", "whole", "ia3", "sparse"])
def test_an_expert_of_its_kind_learns_and_is_used_by_name(base, peft, kind):
    before = copy.deepcopy(base.model.state_dict())
    losses = []
    expert = train_with_peft(
        base, "verse", EXAMPLES, configure(peft, kind), CONFIG, on_step=lambda *step: losses.append(step)
    )
    assert expert.kinds == [kind] and expert.card.tasks == ("verse",)
    assert expert.card.base_fingerprint == base.fingerprint and expert.base_model == base.name
    assert [step[:2] for step in losses] == [(step, 12) for step in range(1, 13)]
    assert losses[-1][2] < losses[0][2] - 0.05
    assert all(torch.equal(before[key], value) for key, value in base.model.state_dict().items())
    stack = attach_experts(base.model, {"verse": expert})
    ids = torch.tensor([[*EXAMPLES.train[0].prompt_ids, 30]])
    with torch.no_grad(), stack.assign(["verse"]):
        tuned = base.model(input_ids=ids).logits[0, 2].log_softmax(-1)[30]
    with torch.no_grad(), stack.assign([None]):
        plain = base.model(input_ids=ids).logits[0, 2].log_softmax(-1)[30]
    assert tuned > plain


def test_what_it_cannot_do_is_refused(base, peft):
    with pytest.raises(UnsupportedAdapter, match=r"must be of a type that experts can have, .*, found 'OFT'"):
        train_with_peft(base, "x", EXAMPLES, peft.OFTConfig(target_modules=["q_proj"]), CONFIG)
    with pytest.raises(ValueError, match="has no validation"):
        train_with_peft(
            base, "x", EXAMPLES, configure(peft, "ia3"), TrainConfig(max_steps=1, validate_every=1)
        )


def test_the_same_seed_gives_the_same_bits(base, peft):
    one, two = (
        train_with_peft(base, "x", EXAMPLES, configure(peft, "dora"), TrainConfig(max_steps=2, seed=4))
        for _ in range(2)
    )
    for path, (a, b) in one.factors.items():
        assert torch.equal(a, two.factors[path].a) and torch.equal(b, two.factors[path].b)
