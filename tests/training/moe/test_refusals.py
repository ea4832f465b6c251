"""Bad input, and runs that are other runs."""

import pytest

from lorary.errors import IncompatibleExpert, TrainingError
from lorary.training import TrainingExamples, memory, train_moe
from tests.training.moe.cases import make_config


def test_experts_that_do_not_fit_are_refused(base, experts, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 1000)
    with pytest.raises(TrainingError, match=r"or the number of experts \(now 5 at a time\)"):
        train_moe(base, experts, examples, make_config(train_experts=True), tmp_path / "run")
    assert train_moe(base, experts, examples, make_config({"max_steps": 1}), tmp_path / "run").experts


def test_faults_of_inputs_are_reported_at_once(base, tmp_path, experts):
    config = make_config(top_k=6, warm_start="prototypes")
    with pytest.raises(ValueError, match="top_k") as caught:
        train_moe(base, experts, {"sql": TrainingExamples(train=())}, config, tmp_path / "run")
    for fault in (
        "top_k must be at most the number of routed experts, 5, found 6",
        "task 'sql' must have at least one training example, found none",
        "warm_start 'prototypes' needs rows for each expert and layer, found none: pass start=…",
    ):
        assert fault in str(caught.value)
    with pytest.raises(ValueError, match="there must be experts to route to, found none; there must be exam"):
        train_moe(base, {}, {}, make_config(), tmp_path / "run")


def test_rows_of_other_layers_and_experts_of_another_base_are_refused(base, tmp_path, examples, experts):
    config = make_config(warm_start="means")
    with pytest.raises(
        ValueError, match=r"a warm start needs rows \[5, 16\] of layer .*q_proj'.* found none"
    ):
        train_moe(base, experts, examples, config, tmp_path / "run", start={})
    other = {name: expert.with_base("org/other") for name, expert in experts.items()}
    with pytest.raises(IncompatibleExpert, match="org/other"):
        train_moe(base, other, examples, make_config(), tmp_path / "run")


def test_another_start_or_noise_by_passes_is_another_run(base, tmp_path, examples, experts):
    train_moe(base, experts, examples, make_config(noise="jitter"), tmp_path / "run")
    for changed in (
        make_config({"tokens_per_pass": 31}, noise="jitter"),
        make_config({"seed": 5}, noise="jitter"),
    ):
        with pytest.raises(TrainingError, match="has another run, which differs in"):
            train_moe(base, experts, examples, changed, tmp_path / "run")
