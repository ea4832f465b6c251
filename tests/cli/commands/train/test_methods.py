from dataclasses import dataclass

import pytest
from jsonargparse import ArgumentParser, Namespace

from lorary.cli.commands.train import methods
from lorary.cli.commands.train.methods import METHODS, Method, add_method_options, refuse_unused_settings
from lorary.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Settings of a method of the tests."""

    train: TrainConfig
    """Settings of the run."""
    num_pairs: int = 2
    """Number of pairs."""


@pytest.fixture
def with_pairs(monkeypatch):
    pairs = Method(summary="pairs", module="pairs", settings={"pairs": PairConfig})
    monkeypatch.setattr(methods, "METHODS", {**METHODS, "pairs": pairs})


def parse(*words):
    parser = ArgumentParser(exit_on_error=False)
    add_method_options(parser)
    return parser.parse_args(words)


def test_every_method_has_a_module_with_run():
    for kind in METHODS.values():
        module = __import__(f"lorary.cli.commands.train.{kind.module}", fromlist=["run"])
        assert callable(module.run)


def test_a_method_has_its_own_settings_without_those_of_the_run(with_pairs):
    options = parse("--method", "pairs", "--pairs.num_pairs", "3")
    assert vars(options.pairs) == {"num_pairs": 3}
    refuse_unused_settings(options)


def test_settings_of_another_method_are_refused(with_pairs):
    with pytest.raises(
        ValueError, match=r"--pairs\.num_pairs is a setting of method pairs, found --method '"
    ):
        refuse_unused_settings(parse("--pairs.num_pairs", "3"))


def test_without_settings_of_others_nothing_is_refused(with_pairs):
    refuse_unused_settings(parse())
    refuse_unused_settings(Namespace(method="experts"))
