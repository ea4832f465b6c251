"""Losses, gradients and steps beside a dense mixture."""

import pytest
import torch

from lorary.experts.seeds import seed_for
from lorary.training import train_moe
from lorary.training.joined_tasks import join_tasks
from lorary.training.loop.schedule import plan_batches
from tests.training.moe.by_hand import Book, find_gradients, make_starts
from tests.training.moe.cases import CASES, NAMES, make_config


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_a_dense_mixture(base, examples, experts, compute_loss, case):
    config = make_config(**CASES[case])
    form = config.make_form(list(experts))
    starts = make_starts(base, form, 7)
    batch = [example for found in examples.values() for example in found.train[:3]]
    book = Book(base, experts, form, starts, config)
    loss, penalty = book.losses(batch, compute_loss)
    wanted = {f"{path}.router": own for path, own in book.parameters.items()}
    expected = torch.autograd.grad(
        loss + penalty, [*wanted.values(), *book.factors.values()], allow_unused=True
    )
    for tokens_per_pass in (4000, 14):
        config = make_config({"tokens_per_pass": tokens_per_pass}, **CASES[case])
        found_loss, found = find_gradients(base, experts, batch, config, starts)
        assert found_loss == pytest.approx(loss.item(), rel=1e-4)
        for name, gradient in zip(wanted, expected, strict=False):
            assert gradient.abs().max() > 1e-4
            torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3)
        if config.train_experts:
            for key, gradient in zip(book.factors, expected[len(wanted) :], strict=True):
                name, _, rest = key.partition(".")
                path, letter = rest[:-2], rest[-1]
                own = found[f"{path}.{'a' if letter == 'a' else 'b_t'}"][NAMES.index(name)]
                own = own if letter == "a" else own.T
                rank = experts[name].factors[path].rank
                own, rest = (own[:rank], own[rank:]) if letter == "a" else (own[:, :rank], own[:, rank:])
                torch.testing.assert_close(own, gradient, atol=2e-5, rtol=1e-3)
                assert not rest.any()


def test_steps_are_those_of_adamw_with_rates_of_their_own(base, tmp_path, examples, experts, compute_loss):
    config = make_config({"max_steps": 3}, train_experts=True, router_learning_rate=5e-3)
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    form = config.make_form(list(experts))
    book = Book(base, experts, form, make_starts(base, form, seed_for(0, "router")), config)
    groups = [book.parameters.values(), book.factors.values()]
    optimizers = [
        torch.optim.AdamW(own, lr=rate, weight_decay=0.0)
        for own, rate in zip(groups, (5e-3, 1e-3), strict=True)
    ]
    unit = join_tasks(examples, is_balanced=True)
    losses = []
    for batch in plan_batches([len(e) for e in unit.train], 4, seed=seed_for(0, "moe"), max_steps=3):
        loss, penalty = book.losses([unit.train[index] for index in batch], compute_loss)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (loss + penalty).backward(inputs=[own for group in groups for own in group])
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    found = [loss for _, loss in outcome.progress.train_curve]
    torch.testing.assert_close(found, losses, atol=1e-4, rtol=1e-4)
    for path, joined in outcome.router.layers.items():
        torch.testing.assert_close(joined, book.parameters[path].detach(), atol=1e-3, rtol=1e-2)
    for old, new in zip(experts, outcome.experts.values(), strict=True):
        assert new.name == f"moe-{old}" and new.card.parents == (old,)
        for path, pair in new.factors.items():
            for letter in "ab":
                expected = book.factors[f"{old}.{path}.{letter}"].detach()
                torch.testing.assert_close(getattr(pair, letter), expected, atol=5e-4, rtol=1e-2)
