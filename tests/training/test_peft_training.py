"""Training experts of other kinds by PEFT's layers, in the same loop as low-rank experts."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch

from lorary.data.tokens import TokenizedExample
from lorary.errors import DataError, TrainingError, UnsupportedAdapter
from lorary.models import attach_experts
from lorary.training import TrainConfig, TrainingExamples, train_experts, train_with_peft
from lorary.training.peft_kinds import KINDS
from lorary.training.peft_settings import make_peft_config, read_peft_config


@pytest.fixture(scope="module")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


@pytest.fixture
def base(build_tiny_base):
    return build_tiny_base()


def draw(first):
    return tuple(TokenizedExample((5, 9, first + place), (30, 31)) for place in range(6))


EXAMPLES = TrainingExamples(draw(11), draw(20)[:2], tasks=("verse",))
SOFT = dict.fromkeys(("soft_prompt", "prefix"), "soft prompt")
LAYERS = ["q_proj", "down_proj"]
CONFIG = TrainConfig(
    rank=2, max_steps=12, learning_rate=2e-2, batch_size=3, tokens_per_pass=8, target_modules=LAYERS
)


def configure(peft, kind):
    return {
        "dora": lambda: peft.LoraConfig(r=2, target_modules=LAYERS, use_dora=True, lora_dropout=0.3),
        "whole": lambda: peft.LoraConfig(r=2, target_modules=LAYERS, modules_to_save=["lm_head"]),
        "ia3": lambda: peft.IA3Config(target_modules=LAYERS, feedforward_modules=["down_proj"]),
        "sparse": lambda: peft.ShiraConfig(r=1, target_modules=LAYERS, random_seed=3),
        "soft_prompt": lambda: peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
        "prefix": lambda: peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    }[kind]()


def list_tensors(expert):
    tensors = {(path, "a"): a for path, (a, _) in expert.factors.items()}
    tensors |= {(path, "b"): b for path, (_, b) in expert.factors.items()}
    for path, parts in expert.parts.items():
        tensors |= {(path, part.kind, key): each for part in parts for key, each in part.tensors.items()}
    return tensors


def same_bits(one, other):
    ours, theirs = list_tensors(one), list_tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def measure(base, stack, name):
    """Give the mean loss of the validation examples' target tokens, with an expert or without."""
    losses = []
    for example in EXAMPLES.validation:
        ids = torch.tensor([[*example.prompt_ids, *example.target_ids]])
        with torch.no_grad(), stack.assign([name]):
            logits = base.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        losses += [-logits[2 + place].log_softmax(-1)[target] for place, target in enumerate((30, 31))]
    return float(torch.stack(losses).mean())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("kind", ["dora", "whole", "ia3", "sparse", "soft_prompt", "prefix"])
def test_an_expert_of_its_kind_learns_and_is_used_by_name(base, peft, kind, tmp_path):
    before = copy.deepcopy(base.model.state_dict())
    events = []
    config = replace(CONFIG, validate_every=6, learning_rate=0.3 if kind in SOFT else 0.02)
    outcome = train_with_peft(
        base, {"verse": EXAMPLES}, configure(peft, kind), config, tmp_path / "run", on_progress=events.append
    )
    expert, progress = outcome.experts["verse"], outcome.progress["verse"]
    assert expert.kinds == [SOFT.get(kind, kind)] and expert.card.tasks == ("verse",)
    assert expert.card.base_fingerprint == base.fingerprint and expert.base_model == base.name
    assert (events[-1].num_steps, events[-1].total_steps) == (12, 12)
    assert progress.train_curve[-1][1] < progress.train_curve[0][1] - 0.05
    assert all(torch.equal(before[key], value) for key, value in base.model.state_dict().items())
    stack = attach_experts(base.model, {"verse": expert})
    assert measure(base, stack, "verse") == pytest.approx(progress.best_loss, rel=1e-4)
    assert measure(base, stack, None) > progress.best_loss
    stack.detach()
    again = train_with_peft(base, {"verse": EXAMPLES}, configure(peft, kind), config, tmp_path / "run")
    assert same_bits(again.experts["verse"], expert)


class Killed(Exception):
    pass


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("kind", ["dora", "sparse"])
def test_a_killed_run_resumes_to_the_same_bits(base, peft, kind, tmp_path):
    """Also what drops out is the same."""
    config = replace(CONFIG, validate_every=3, checkpoint_seconds=0.0)
    examples = {"verse": EXAMPLES, "prose": replace(EXAMPLES, train=draw(15), tasks=("prose",))}
    whole = train_with_peft(base, examples, configure(peft, kind), config, tmp_path / "whole")

    def kill_at(num):
        def follow(event):
            if event.num_steps == num:
                raise Killed

        return follow

    for moment in (5, 17):
        with pytest.raises(Killed):
            train_with_peft(
                base, examples, configure(peft, kind), config, tmp_path / "run", on_progress=kill_at(moment)
            )
    found = train_with_peft(base, examples, configure(peft, kind), config, tmp_path / "run")
    for name in examples:
        assert same_bits(found.experts[name], whole.experts[name])
        assert found.progress[name] == whole.progress[name]
    alone = train_with_peft(
        base, {"prose": examples["prose"]}, configure(peft, kind), config, tmp_path / "alone"
    )
    assert same_bits(alone.experts["prose"], whole.experts["prose"])


def test_the_best_validated_weights_are_kept_and_training_stops_early(base, peft, tmp_path):
    config = replace(CONFIG, learning_rate=0.5, validate_every=1, patience=2, max_steps=40)
    outcome = train_with_peft(base, {"verse": EXAMPLES}, configure(peft, "ia3"), config, tmp_path)
    progress = outcome.progress["verse"]
    assert progress.step < 40 and progress.best_step < progress.step
    assert outcome.experts["verse"].card.scores == {"validation_loss": progress.best_loss}
    shorter = replace(config, max_steps=40, validate_every=1, patience=None)
    other = train_with_peft(base, {"verse": EXAMPLES}, configure(peft, "ia3"), shorter, tmp_path / "other")
    assert other.progress["verse"].step == 40


def test_low_rank_factors_are_those_of_our_own_training(base, peft, tmp_path):
    """Equal first values give equal experts: batches, schedule and optimiser are the same."""
    plain = peft.LoraConfig(r=2, lora_alpha=16, target_modules=LAYERS)
    config = replace(CONFIG, max_steps=4)
    found = train_with_peft(base, {"verse": EXAMPLES}, plain, replace(config, max_steps=0), tmp_path / "zero")
    start = found.experts["verse"]
    outcome = train_with_peft(base, {"verse": EXAMPLES}, plain, config, tmp_path / "peft")
    ours = train_experts(base, {"verse": EXAMPLES}, config, tmp_path / "ours", starts={"verse": start})
    for path, (a, b) in outcome.experts["verse"].factors.items():
        other = ours.experts["verse"].factors[path]
        torch.testing.assert_close(b @ a, other.b @ other.a, rtol=1e-3, atol=1e-5)


def test_gradient_checkpointing_changes_nothing(base, peft, tmp_path):
    config = replace(CONFIG, max_steps=3)
    found = [
        train_with_peft(
            base,
            {"verse": EXAMPLES},
            configure(peft, "dora"),
            replace(config, gradient_checkpointing=keeps_less),
            tmp_path / str(keeps_less),
        ).experts["verse"]
        for keeps_less in (False, True)
    ]
    for key, tensor in list_tensors(found[0]).items():
        torch.testing.assert_close(list_tensors(found[1])[key], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_by_name_is_trained_on_the_layers_of_the_training(base, kind, tmp_path):
    config = replace(CONFIG, max_steps=1)
    peft_config = make_peft_config(kind, base, config)
    expert = train_with_peft(base, {"verse": EXAMPLES}, peft_config, config, tmp_path).experts["verse"]
    expected = {"dora": "dora", "ia3": "ia3", "shira": "sparse"}.get(kind, "soft prompt")
    assert expert.kinds == [expected]
    if not KINDS[kind].is_prompt:
        assert {path.rpartition(".")[2] for path in expert.paths} == set(LAYERS)


def test_a_configuration_is_read_from_a_file(base, tmp_path):
    file = tmp_path / "adapter_config.json"
    file.write_text(
        '{"peft_type": "LORA", "r": 3, "use_dora": true, "target_modules": ["q_proj"], "peft_version": "x"}'
    )
    config = read_peft_config(str(file), base)
    assert (config.r, config.use_dora, config.task_type) == (3, True, "CAUSAL_LM")
    file.write_text("peft_type: LORA\nuse_doar: true\nrank: 3\n")
    with pytest.raises(
        DataError, match=r"unknown setting 'use_doar': did you mean 'use_dora'.*; unknown .* 'rank'"
    ):
        read_peft_config(str(file), base)
    file.write_text("peft_type: LOHA\n")
    with pytest.raises(
        UnsupportedAdapter, match=r"must be of a type that experts can have, .*, found 'LOHA'"
    ):
        read_peft_config(str(file), base)
    file.write_text("r: 3\n")
    with pytest.raises(DataError, match="must map settings to values, with peft_type"):
        read_peft_config(str(file), base)


def test_what_it_cannot_do_is_refused(base, peft, tmp_path):
    with pytest.raises(UnsupportedAdapter, match=r"must be of a type that experts can have, .*, found 'OFT'"):
        train_with_peft(base, {"x": EXAMPLES}, peft.OFTConfig(target_modules=["q_proj"]), CONFIG, tmp_path)
    with pytest.raises(
        ValueError, match=r"kind must be one of dora, ia3, .*, found 'doar': did you mean 'dora'"
    ):
        make_peft_config("doar", base, CONFIG)
    base.model.to(torch.bfloat16)
    whole = peft.LoraConfig(r=2, target_modules=LAYERS, modules_to_save=["lm_head"])
    with pytest.raises(ValueError, match=r"what PEFT trains must be float32, found bfloat16: load the base"):
        train_with_peft(base, {"x": EXAMPLES}, whole, CONFIG, tmp_path)


def test_another_run_in_the_folder_is_refused_with_the_setting_that_differs(base, peft, tmp_path):
    config = replace(CONFIG, max_steps=1)
    train_with_peft(base, {"x": EXAMPLES}, configure(peft, "ia3"), config, tmp_path)
    other = peft.IA3Config(target_modules=LAYERS, feedforward_modules=LAYERS)
    with pytest.raises(TrainingError, match=r"differs in PEFT feedforward_modules \("):
        train_with_peft(base, {"x": EXAMPLES}, other, config, tmp_path)
