"""Two things to train that lorary does not know of: skills that tasks share, and lessons from a teacher.

    python -m tests.training.toy_objectives OUT

trains both in processes that kill themselves, and writes ``OUT/<toy>-<whole or killed>.safetensors``.
"""

import math
import os
import signal
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from safetensors.torch import load, save
from transformers import AutoConfig, AutoModelForCausalLM

from lorary.data import TokenizedExample
from lorary.models import find_layers, layer_shape, select_positions, wrap_base
from lorary.models.attach import attach_slots
from lorary.passes import score_pass
from lorary.routing import Choice
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.folder.expert_form import ExpertForm
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.adamw import AdamW
from lorary.training.loop.contract import Objective
from lorary.training.loop.loop import Loop
from lorary.training.loop.rows import ParameterRows
from lorary.training.loop.settings import LoopSettings
from lorary.training.objectives.lora import LoraExperts

NUM_SKILLS, NUM_TASKS = 3, 2
SETTINGS = LoopSettings(
    batch_size=3, epochs=2, tokens_per_pass=20, validate_every=2, patience=2, checkpoint_seconds=0
)


@dataclass(frozen=True)
class TaskExample(TokenizedExample):
    """An example of one of the tasks that share skills."""

    task: int = 0


class SharedSkills(Objective):
    """Skills that the tasks of a unit share, and a table that says how each task mixes them.

    Args:
        stack: empty experts, ``NUM_SKILLS`` for each slot.
    """

    def __init__(self, stack):
        self.stack = stack
        self.num_slots = len(stack.names) // NUM_SKILLS
        shapes = {}
        for path, layer in stack.layers.items():
            shapes[f"{path}.a"] = (NUM_SKILLS, *layer.a.shape[1:])
            shapes[f"{path}.b_t"] = (NUM_SKILLS, *layer.b_t.shape[1:])
        self.num_skill_parameters = sum(math.prod(shape) for shape in shapes.values())
        shapes |= {f"{path}.table": (NUM_TASKS, NUM_SKILLS) for path in stack.layers}
        self.rows = ParameterRows(self.num_slots, shapes)
        for layer in stack.layers.values():
            del layer.a, layer.b_t  # put there anew for each pass, since skills of all slots lie apart

    @torch.no_grad()
    def start(self, name, slot, num_steps):
        generator = torch.Generator().manual_seed(len(name))
        self.rows.values[slot] = torch.randn(self.rows.num_parameters, generator=generator) / 4
        return TwoRates(self.rows.values[slot], self.num_skill_parameters, num_steps)

    def request(self, slot, example):
        return slot * NUM_TASKS + example.task

    def routing(self, part):
        for path, layer in self.stack.layers.items():
            layer.a, layer.b_t = (self.rows.parts[f"{path}.{key}"].flatten(0, 1) for key in ("a", "b_t"))
        return self

    def choose(self, path, x, rows):
        own = rows.clamp(min=0)
        table = self.rows.parts[f"{path}.table"].flatten(0, 1)[own].sigmoid()
        weights = table / table.sum(-1, keepdim=True) * (rows >= 0)[:, None]
        indices = (own // NUM_TASKS * NUM_SKILLS)[:, None] + torch.arange(NUM_SKILLS)
        return Choice(indices, weights, "factors")

    def losses(self, part, examples, chooser):
        return score_pass(self.stack, part, chooser)

    def check_loss(self, name, what, loss, step):
        return loss

    def export(self, name, values, progress):
        return {key: part.clone() for key, part in self.rows.split_row(values.clone()).items()}

    def find_optimizer_fault(self, tensors, num_steps):
        return TwoRates.find_fault(tensors, num_steps, self.num_skill_parameters, self.rows.num_parameters)


class TwoRates:
    """An optimiser whose first parameters learn at one rate and the others, the tables, at a larger one."""

    KINDS = (AdamW(learning_rate=1e-2, max_grad_norm=1.0), AdamW(learning_rate=1e-1))

    def __init__(self, values, split, num_steps):
        self.split = split
        self.parts = [
            kind.start(part, num_steps)
            for kind, part in zip(self.KINDS, (values[:split], values[split:]), strict=True)
        ]

    def step(self, gradient, loss):
        for part, own in zip(self.parts, (gradient[: self.split], gradient[self.split :]), strict=True):
            part.step(own, loss)

    def tensors(self):
        return {f"{n}.{key}": value for n in (0, 1) for key, value in self.parts[n].tensors().items()}

    def restore(self, tensors, progress):
        for number, part in enumerate(self.parts):
            part.restore(take_part(tensors, number), progress)

    @classmethod
    def find_fault(cls, tensors, num_steps, split, size):
        for number, (kind, own) in enumerate(zip(cls.KINDS, (split, size - split), strict=True)):
            if fault := kind.find_fault(take_part(tensors, number), num_steps, own):
                return fault
        return None


def take_part(tensors, number):
    return {key[2:]: value for key, value in tensors.items() if key.startswith(f"{number}.")}


class TensorFile:
    """Keeps a unit's tensors in one file."""

    files = ("tensors.safetensors",)

    def write(self, product):
        return {self.files[0]: save(product)}

    def read(self, folder, name, hashes, num_steps):
        return load((folder / self.files[0]).read_bytes())


@dataclass(frozen=True)
class TaughtExample(TokenizedExample):
    """A question whose answer the teacher reads in a document."""

    document: tuple[int, ...] = ()


class Distilled(LoraExperts):
    """Experts that learn from the base model, which has read a document before the question."""

    def losses(self, part, examples, chooser):
        model, batch = self.stack.model, part.batch
        with self.stack.choosing(chooser, rows=part.rows), select_positions(model, batch.positions):
            student = model(**batch.model_inputs(model.dtype)).logits[0].log_softmax(-1)
        teacher = torch.cat([self.teach(example) for example in examples])
        return (teacher.exp() * (teacher - student)).sum(-1)

    @torch.no_grad()
    def teach(self, example):
        """Give the teacher's log-probabilities of an example's target positions, ``[N, V]``."""
        ids = torch.tensor([[*example.document, *example.prompt_ids, *example.target_ids]])
        with self.stack.choosing(None):
            logits = self.stack.model(input_ids=ids, use_cache=False).logits[0]
        return logits[-len(example.target_ids) - 1 : -1].log_softmax(-1)


def build_base():
    config = AutoConfig.for_model(
        "llama",
        vocab_size=32,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    return wrap_base(AutoModelForCausalLM.from_config(config), None, name="tiny")


def draw_examples(make):
    """Three units, whose examples are made of a generator."""
    generator = torch.Generator().manual_seed(3)

    def draw(number):
        return tuple(make(torch.randint(3, 32, (9,), generator=generator).tolist()) for _ in range(number))

    return {name: TrainingExamples(train=draw(7), validation=draw(3)) for name in ("poetry", "sql", "law")}


def make_task_example(ids):
    return TaskExample(tuple(ids[:4]), tuple(ids[4:7]), task=ids[0] % NUM_TASKS)


def make_taught_example(ids):
    return TaughtExample(tuple(ids[:3]), tuple(ids[3:6]), document=tuple(ids[6:]))


def train_skills(base, folder, names=("poetry", "sql", "law"), **hooks):
    """Train the skills of several teams, two at a time; returns tensors and curves by unit."""
    examples = {name: draw_examples(make_task_example)[name] for name in names}
    layers = find_layers(base.model, ["q_proj", "down_proj"])
    stack = attach_slots(base.model, layers, 2 * NUM_SKILLS, rank=2)
    run = None if folder is None else RunFolder(folder, {"what": "skills"}, TensorFile())
    try:
        return Loop(SharedSkills(stack), examples, SETTINGS, folder=run, **hooks).run()
    finally:
        restore_parameters(stack)
        stack.detach()


def restore_parameters(stack):
    for layer in stack.layers.values():
        for key in ("a", "b_t"):
            value = getattr(layer, key).detach()
            delattr(layer, key)
            setattr(layer, key, torch.nn.Parameter(value))


def train_distilled(base, folder, names=("poetry", "sql", "law"), **hooks):
    """Distil three experts, two at a time; returns tensors and curves by unit."""
    examples = {name: draw_examples(make_taught_example)[name] for name in names}
    config = TrainConfig(rank=2, learning_rate=1e-2, max_steps=5)
    layers = find_layers(base.model, ["q_proj", "down_proj"])
    sizes = {path: layer_shape(layer) for path, layer in layers.items()}
    form = ExpertForm(
        shapes={path: ((2, i), (o, 2)) for path, (i, o) in sizes.items()},
        base_fingerprint=base.fingerprint,
        digests={name: found.digest for name, found in examples.items()},
        config=config,
    )
    stack = attach_slots(base.model, layers, 2, rank=2)
    run = None if folder is None else RunFolder(folder, {"what": "lessons"}, form)
    try:
        done = Loop(Distilled(stack, base, examples, config), examples, SETTINGS, folder=run, **hooks).run()
    finally:
        stack.detach()
    return {name: (list_tensors(expert), progress) for name, (expert, progress) in done.items()}


def list_tensors(expert):
    return {
        f"{path}.{letter}": tensor
        for path, pair in expert.factors.items()
        for letter, tensor in zip("ab", pair, strict=True)
    }


TOYS = {"skills": train_skills, "distilled": train_distilled}


def main():
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    base = build_base()
    with torch.no_grad():
        base.model(input_ids=torch.tensor([[3, 4]]))  # imports what is imported late
    for toy in TOYS:
        run_in_child(base, toy, out / f"{toy}-whole", None)
        for moment in (3, 2, 4):
            run_in_child(base, toy, out / f"{toy}-killed", moment)
        run_in_child(base, toy, out / f"{toy}-killed", None)


def run_in_child(base, toy, folder, moment):
    """Train in a process that kills itself after some passes, or writes what came out."""
    child = os.fork()
    if child == 0:
        passes = count(1)

        def follow(event):
            if next(passes) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        found = TOYS[toy](base, folder, after_pass=follow)
        tensors = {f"{name}/{key}": t for name, (parts, _) in found.items() for key, t in parts.items()}
        curves = {name: torch.tensor(p.train_curve) for name, (_, p) in found.items()}
        folder.with_suffix(".safetensors").write_bytes(save({**tensors, **curves}))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    expected = 0 if moment is None else signal.SIGKILL
    if status != expected:
        raise SystemExit(f"{toy}, {moment}: status {status}")


if __name__ == "__main__":
    main()
