"""Saved models, base models, runs, and the caches that lie between."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lorary.adaptation import AdaptConfig, Adapted, adapt
from lorary.assembly import RoutedModel, load_model, save_model
from lorary.assembly.saved_model import is_saved_model
from lorary.data.tokens import TokenizedExample
from lorary.errors import FormatError
from lorary.facts import find_task_facts
from lorary.facts.moe import store_router
from lorary.kernels import build
from lorary.library import Library
from lorary.models import BaseModel, load_base, mix
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.packed import TrainedRouter, unpack_router
from lorary.training import TrainConfig, TrainingExamples, train_experts
from lorary.training.train import TrainOutcome
from tests.facts.texts import take_for_examples
from tests.hostile.command_inputs import Ran, run_all
from tests.hostile.library_inputs import make_library
from tests.hostile.reader import Nearly, check_expert, check_finite, digest_expert
from tests.hostile.tiny import NAMES, copy_base, draw_expert, draw_experts

INPUT_IDS = torch.tensor([[72, 105, 33, 5], [9, 10, 11, 12]])
# Products of larger ones leave the range of float32.
LARGEST_WEIGHT = 1e6
CONFIG = TrainConfig(
    rank=2, alpha=8, batch_size=2, max_steps=3, num_slots=1, validate_every=1, learning_rate=1e-2
)


def make_saved(router: str, given: Sequence[str] = (), **options: Any) -> Callable[[Path], None]:
    """Save a model with a router, and its base model with it."""

    def make(folder: Path) -> None:
        rows = {name: draw_moe() if name == "moe" else _draw_rows(name) for name in given}
        model = load_model(copy_base(), draw_experts(), router=router, **rows, **options)
        save_model(model, folder / "model", with_base=True)

    return make


def _draw_rows(field: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(field))
    experts = draw_experts()
    return {
        path: torch.randn(len(experts), pair.a.shape[1], generator=generator)
        for path, pair in experts["law"].factors.items()
    }


def draw_moe() -> dict[str, torch.Tensor]:
    """Draw a trained router of all experts."""
    rows = {path: own.flatten() for path, own in _draw_rows("moe").items()}
    return TrainedRouter(MoeForm(experts=tuple(draw_experts())), rows).pack()


def make_moe_library(folder: Path) -> None:
    """Write a library of experts with a trained router."""
    make_library(folder)
    library = Library.open(folder / "lib")
    store_router(library, unpack_router(draw_moe()), "moe", copy_base().fingerprint)


def read_moe_library(folder: Path) -> dict[str, Any]:
    """Load a model that routes by the library's trained router."""
    model = load_model(copy_base(), Library.open(folder / "lib"), router="moe")
    with torch.no_grad():
        logits = model(input_ids=INPUT_IDS).logits
    return {"logits": logits, "text": "", "names": model.names, "largest": _find_largest(model)}


def read_saved(folder: Path) -> dict[str, Any]:
    """Load a saved model, run it, let it say one token and explain itself."""
    if not is_saved_model(folder / "model"):
        raise FormatError("it is no saved model: giving one is up to the caller")
    model = load_model(folder / "model", device="cpu")
    try:
        logits = model(input_ids=INPUT_IDS).logits
        text = model.generate("hi", max_new_tokens=1)
        model.explain([72, 105])
        return {"logits": logits, "text": text, "names": model.names, "largest": _find_largest(model)}
    finally:
        model.detach()


def _find_largest(model: RoutedModel) -> float:
    """Give the largest number of the base model's and the experts' weights."""
    stacks = [stack for layer in model.stack.layers.values() for stack in (layer.a, layer.b_t)]
    return max(float(weights.abs().max()) for weights in (*model.model.parameters(), *stacks))


def check_saved(found: dict[str, Any]) -> None:
    """Assert that every logit is a number; whoever trusts weights so large must take what they give."""
    if found["largest"] < LARGEST_WEIGHT:
        check_finite(found["logits"])
    assert isinstance(found["text"], str)


def answer_saved(found: dict[str, Any]) -> Any:
    """Give the logits and the experts."""
    return Nearly(found["logits"]), tuple(found["names"])


def generate_on_command(folder: Path) -> Ran:
    """Generate with a saved model from the command line."""
    return run_all(("generate", str(folder / "model"), "hi", "--max-new-tokens", "1", "--device", "cpu"))


def make_base(folder: Path) -> None:
    """Save a base model as ``transformers`` does."""
    base = copy_base()
    base.model.save_pretrained(folder / "base")
    base.tokenizer.save_pretrained(folder / "base")


def read_base(folder: Path) -> BaseModel:
    """Load a base model from its folder."""
    return load_base(str(folder / "base"), dtype=torch.float32, device="cpu")


def check_base_model(base: BaseModel) -> None:
    """Assert that it has an identity; weights that are nonsense are the user's to judge."""
    assert isinstance(base.fingerprint, str) and base.name


def list_examples() -> dict[str, TrainingExamples]:
    """Give two experts' examples."""
    found = {}
    for shift, name in enumerate(("law", "poetry")):
        pairs = [((5 + n, 6 + n, 7), (8 + n + shift, 9)) for n in range(6)]
        everyone = tuple(TokenizedExample(*pair) for pair in pairs)
        found[name] = TrainingExamples(train=everyone[:4], validation=everyone[4:], tasks=(name,))
    return found


def make_run(folder: Path) -> None:
    """Leave a run as it is when its first expert is done and its second has taken a step or two."""

    def stop(event: Any) -> None:
        if event.num_finished and event.num_steps > CONFIG.max_steps:
            raise KeyboardInterrupt

    try:
        train_experts(copy_base(), list_examples(), CONFIG, folder / "run", on_progress=stop)
    except KeyboardInterrupt:
        return
    raise AssertionError("the run was not stopped")


def resume_run(folder: Path) -> TrainOutcome:
    """Train on from there."""
    return train_experts(copy_base(), list_examples(), CONFIG, folder / "run")


def check_outcome_of_run(outcome: TrainOutcome) -> None:
    """Assert that every expert is sound."""
    for expert in outcome.experts.values():
        check_expert(expert)


def answer_run(outcome: TrainOutcome) -> Any:
    """Give what the experts do and how they came there."""
    experts = {name: digest_expert(expert) for name, expert in outcome.experts.items()}
    return experts, {name: repr(asdict(progress)) for name, progress in outcome.progress.items()}


ADAPTATION = AdaptConfig(method="average", rank=2, train=TrainConfig(max_steps=2, batch_size=1))


def make_adaptation(folder: Path) -> None:
    """Leave a finished adaptation."""
    read_adaptation(folder)


def read_adaptation(folder: Path) -> Adapted:
    """Read it, or compute again what is missing."""
    return adapt(copy_base(), draw_experts(), list_examples(), ADAPTATION, folder / "adapted")


def check_adaptation(adapted: Adapted) -> None:
    """Assert that every expert is sound."""
    for expert in adapted.experts.values():
        check_expert(expert)


def answer_adaptation(adapted: Adapted) -> Any:
    """Give what the experts do and how they came there."""
    experts = {name: digest_expert(expert) for name, expert in adapted.experts.items()}
    found = {name: (repr(asdict(task.progress)), task.num_read) for name, task in adapted.tasks.items()}
    return experts, found


def make_artifact_cache(folder: Path) -> None:
    """Fill a cache folder with what the default router finds out about experts of no library."""
    with _Cache(folder):
        load_model(copy_base(), draw_experts())


def read_artifact_cache(folder: Path) -> dict[str, Any]:
    """Build a model from what a cache folder holds."""
    with _Cache(folder):
        model = load_model(copy_base(), draw_experts())
        text = model.generate("hi", max_new_tokens=1)
        logits = model(input_ids=INPUT_IDS).logits
        return {"logits": logits, "text": text, "names": model.names, "largest": _find_largest(model)}


def make_task_rows(folder: Path) -> None:
    """Keep the means of what experts were trained on in their library."""
    make_library(folder)
    read_task_rows(folder)


def read_task_rows(folder: Path) -> dict[str, torch.Tensor]:
    """Give the means of what experts were trained on, those in the library's artifacts as they are."""
    library = Library.open(folder / "lib")
    model = load_model(copy_base(), library, router=None)
    sequences = {name: [[72, 105, 33], [5, 6]] for name in NAMES}
    return dict(find_task_facts(model, library, take_for_examples(sequences), ["means"])["means"])


def check_task_rows(found: dict[str, torch.Tensor]) -> None:
    """Assert that there is a row per expert, as wide as its layer."""
    widths = {path: pair.a.shape[1] for path, pair in draw_expert("law").factors.items()}
    for path, rows in found.items():
        check_finite(rows)
        assert rows.shape == (len(NAMES), widths[path]), f"{path}: {rows.shape}"


def answer_task_rows(found: dict[str, torch.Tensor]) -> Any:
    """Give them all in a row."""
    return Nearly(torch.cat([rows.flatten() for _, rows in sorted(found.items())]))


COMPILER = """#!/bin/sh
# Stands for a C++ compiler: hands over what a real one built before.
while [ "$1" != "-o" ]; do shift; done
cp {built} "$2"
"""


def make_kernel_cache(folder: Path) -> None:
    """Build the operators, then let a quick compiler do it; without a compiler there is nothing to read."""
    kept = Path(os.environ["HOSTILE_ROOT"]) / "compiler"
    if not any(map(shutil.which, build.COMPILERS)):
        return
    if not kept.exists():
        kept.mkdir()
        with _Cache(kept / "cache"):
            build.load_object.cache_clear()
            assert build.load_object() is not None, "the operators cannot be built"
        [built] = (kept / "cache/kernels").glob("*.so")
        shutil.copy(built, kept / "built.so")
        (kept / "c++").write_text(COMPILER.format(built=kept / "built.so"))
        (kept / "c++").chmod(0o755)
    read_kernel_cache(folder)


def read_kernel_cache(folder: Path) -> dict[str, Any]:
    """Mix with operators from a cache folder."""
    os.environ["CXX"] = str(Path(os.environ["HOSTILE_ROOT"]) / "compiler/c++")
    with _Cache(folder):
        build.load_object.cache_clear()
        return {"mixed": _mix()}


def _mix() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(size, generator=generator) for size in ((5, 8), (3, 2, 8), (3, 12, 2)))
    indices = torch.tensor([[0, 1], [1, 2], [2, 0], [0, 1], [1, 2]])
    return mix(x, a, b, indices, torch.full((5, 2), 0.5), backend=None)


def check_mixed(found: dict[str, Any]) -> None:
    """Assert that the numbers are numbers."""
    check_finite(found["mixed"])


def answer_mixed(found: dict[str, Any]) -> Any:
    """Give them; plain PyTorch may stand in for a cache that cannot be used."""
    return Nearly(found["mixed"])


class _Cache:
    """Another cache folder, for a while."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        self.before = os.environ.get("LORARY_CACHE")
        os.environ["LORARY_CACHE"] = str(self.folder)

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["LORARY_CACHE"]
        else:
            os.environ["LORARY_CACHE"] = self.before
